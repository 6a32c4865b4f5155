"""A run's directory: its configuration, plan, commits and manifest (the commit protocol)."""

from scanner.run.directory import Run
from scanner.run.records import Commit, Part, Plan, Slice

__all__ = ["Commit", "Part", "Plan", "Run", "Slice"]
