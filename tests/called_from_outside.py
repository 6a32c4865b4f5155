"""What vulture cannot see being used: names that templates, parents and other libraries call."""

from scanner.evidence.explain.page import *  # noqa: F403
