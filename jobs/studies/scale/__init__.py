"""A simulation of the driver at the full size."""
