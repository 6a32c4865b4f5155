"""The testbed: a small Stable Diffusion that truly memorizes, its data set, its measured labels."""

from scanner.testbed.files import FOLDER, labels

__all__ = ["FOLDER", "labels"]
