"""Adapters, one per model family."""
