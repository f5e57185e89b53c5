"""The workshop: torch, transformers, scikit-learn, implicit and lightgbm live here and nowhere else."""

import os

# Waiting OpenMP threads sleep instead of spinning: on a machine that is busy with other work, training is then several
# times faster. Read by libgomp when torch is loaded, hence here, before any module of this floor imports it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
