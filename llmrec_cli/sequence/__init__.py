"""The transformer on behaviour: network, packing, losses, training and what later stages read of it."""

# What a default run never imports, by name.
PRIVATE_CHECK = "llmrec_cli.extras.private_training:check"
PRIVATE_TRAINING = "llmrec_cli.extras.private_training:train"
TUNE_LANGUAGE_MODEL = "llmrec_cli.extras.lora_lm:tune"
