"""Ray: a pool of actors that runs any work on slices and commits what comes out."""

from scanner.cluster.pool import Event, Resources, Work, run_slices, start_ray

__all__ = ["Event", "Resources", "Work", "run_slices", "start_ray"]
