"""The kitchen: table expressions and pure functions on arrays and frames. No torch; files only in `engine` and `sources`."""
