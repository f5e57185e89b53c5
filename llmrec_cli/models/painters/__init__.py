"""Painters: each learns to paint item images of a kind (a category) from the images that items have.

To add one: a file here with its `Config` and class, a line in PAINTERS, and the contract tests run over it.
"""

from __future__ import annotations

PAINTERS = {"vae": "llmrec_cli.models.painters.vae:VaePainter"}
