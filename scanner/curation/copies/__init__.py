"""Cleaned copies of the input shards: without what a removal list removes, checked, committed."""
