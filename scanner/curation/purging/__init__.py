"""Remove taken-down samples and captions from a run, and from what later commands added to it."""

from scanner.curation.purging.purge import Purge, purge

__all__ = ["Purge", "purge"]
