"""Verify by generation: which captions really come out as copies."""
