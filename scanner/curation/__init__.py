"""Policies: from scores to actions and removal lists.

Cleaned copies are made by :mod:`scanner.curation.copies`, which is not loaded here: it needs Ray.
"""

from scanner.curation.changes import difference, remember
from scanner.curation.curate import OverLimit, choose_image_key, curate, make_list
from scanner.curation.policy import Policy, read_policy
from scanner.curation.summary import Summary, summarize

__all__ = [
    "OverLimit",
    "Policy",
    "Summary",
    "choose_image_key",
    "curate",
    "difference",
    "make_list",
    "read_policy",
    "remember",
    "summarize",
]
