"""A run's directory: its configuration, plan, commits and manifest (the commit protocol)."""

from scanner.run.commits import Commits, Output
from scanner.run.directory import Run
from scanner.run.records import Commit, Part, Plan, Tier
from scanner.run.slices import Slice

__all__ = ["Commit", "Commits", "Output", "Part", "Plan", "Run", "Slice", "Tier"]
