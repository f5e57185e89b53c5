"""llmrec: raw behaviour logs in, explained recommendations out."""

import os

# Waiting OpenMP threads sleep instead of spinning: on a machine that is busy with other work, training is then several
# times faster. Read by libgomp when torch is loaded, hence here, before any module of the program imports it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
