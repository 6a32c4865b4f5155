"""Explain one caption: its attention over steps, layers and image, and which words cause it."""

from scanner.evidence.explain.explanation import PUBLISHED, Explanation, explain
from scanner.evidence.explain.held_out import DEFAULT_CAPTIONS, pick_held_out, read_captions
from scanner.evidence.explain.page import render_explanation, write_png_files

__all__ = [
    "DEFAULT_CAPTIONS",
    "PUBLISHED",
    "Explanation",
    "explain",
    "pick_held_out",
    "read_captions",
    "render_explanation",
    "write_png_files",
]
