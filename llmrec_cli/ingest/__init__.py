"""Raw files to sound tables: reading, inferring, rules and metadata. No torch."""
