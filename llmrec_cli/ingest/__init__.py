"""Raw files to valid tables: dialects, inferred columns, rules and metadata. No torch."""
