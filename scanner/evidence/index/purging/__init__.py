"""Remove taken-down images from an index."""

from scanner.evidence.index.purging.purge import purge_index

__all__ = ["purge_index"]
