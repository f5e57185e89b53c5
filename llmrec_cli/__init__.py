"""llmrec: raw behaviour logs in, explained recommendations out."""

__version__ = "0.1.0"
