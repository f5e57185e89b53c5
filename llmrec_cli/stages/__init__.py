"""The rooms: one stage in each file; orchestration only, and no stage imports another."""
