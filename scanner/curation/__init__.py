"""Policies: from scores to actions and removal lists.

:mod:`scanner.curation.copies` makes cleaned copies; it is not imported here because it needs Ray.
"""

from scanner.curation.changes import difference, load_baseline
from scanner.curation.curate import LimitExceeded, choose_image_key, curate, make_list
from scanner.curation.policy import Policy, read_policy
from scanner.curation.summary import Summary, summarize

__all__ = [
    "LimitExceeded",
    "Policy",
    "Summary",
    "choose_image_key",
    "curate",
    "difference",
    "load_baseline",
    "make_list",
    "read_policy",
    "summarize",
]
