"""Cleaned copies of the input shards, without the rows of a removal list."""
