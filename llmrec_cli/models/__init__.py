"""The workshop: torch, transformers, scikit-learn, implicit and lightgbm live here and nowhere else."""
