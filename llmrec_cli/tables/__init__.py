"""The kitchen: table expressions and pure functions on arrays and frames. No torch."""
