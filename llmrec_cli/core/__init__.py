"""The foundation: settings, artifacts, the work directory and what a stage is. Knows nothing of models."""
