"""The testbed: a small Stable Diffusion with memorized captions, its data set and its labels."""

from scanner.testbed.files import FOLDER, labels

__all__ = ["FOLDER", "labels"]
