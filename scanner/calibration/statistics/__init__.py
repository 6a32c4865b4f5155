"""Intervals and correlations for captions that resemble each other."""
