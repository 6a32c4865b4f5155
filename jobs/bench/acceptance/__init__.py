"""Measure a new kind of device, in one run of under 8 minutes."""
