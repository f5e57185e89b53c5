"""From scored candidates to lists: constraints, backfill, and why each row is there."""
