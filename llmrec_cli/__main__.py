"""`python -m llmrec_cli` is `llmrec`."""

from llmrec_cli.cli.app import main

main()
