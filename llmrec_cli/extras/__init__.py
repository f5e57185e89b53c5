"""What a default run never imports; only registries name it."""
