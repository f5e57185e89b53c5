"""The command line: every command with its options; the only place of typer and rich."""
