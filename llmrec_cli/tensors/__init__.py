"""Where torch begins: devices, the training loop, checkpoints and stored models."""
