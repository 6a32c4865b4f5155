"""One caption made visible: where attention goes, when, on what, and which words are to blame."""

from scanner.evidence.explain.explanation import PUBLISHED, Explanation, explain
from scanner.evidence.explain.held_out import PLAIN, read_captions, spread
from scanner.evidence.explain.page import page, write_pictures

__all__ = [
    "PLAIN",
    "PUBLISHED",
    "Explanation",
    "explain",
    "page",
    "read_captions",
    "spread",
    "write_pictures",
]
