"""Proof for the few captions that are suspected: what a model draws from them, and why."""
