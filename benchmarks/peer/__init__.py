"""What runs inside the peers' own virtual environment: nothing here imports llmrec."""
