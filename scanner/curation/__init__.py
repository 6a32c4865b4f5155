"""Policies: from scores to actions and removal lists.

:mod:`scanner.curation.copies` makes cleaned copies; it is not imported here because it needs Ray.
"""

from scanner.curation.changes import difference, load_baseline
from scanner.curation.curate import LimitExceeded, choose_image_key, curate, make_list
from scanner.curation.named_samples import match_lists, parse_lists
from scanner.curation.policy import Policy, read_policy
from scanner.curation.removal_filter import RemovalFilter
from scanner.curation.summary import Summary, summarize

__all__ = [
    "LimitExceeded",
    "Policy",
    "RemovalFilter",
    "Summary",
    "choose_image_key",
    "curate",
    "difference",
    "load_baseline",
    "make_list",
    "match_lists",
    "parse_lists",
    "read_policy",
    "summarize",
]
