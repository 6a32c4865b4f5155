"""A model's files: found, fetched, hashed and opened without running their code."""
