"""Limits on what a policy may remove of one source or one cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scanner.curation.policy import Limits
from scanner.curation.wording import counted, joined
from scanner.errors import UserError
from scanner.query import RunTables

SHOWN = 10
NAMED = 3
# A flagged caption without a cluster is one by itself; rows without a caption are in none.
_SOURCES = """
    WITH removed AS (
        SELECT source, count(*) AS removed FROM listed
        WHERE action IN ('drop', 'cap') AND caption_id IS NOT NULL GROUP BY source
    )
    SELECT source, samples, removed, removed / samples AS share
    FROM removed JOIN (
        SELECT source, count(*) AS samples FROM samples WHERE NOT is_reference GROUP BY source
    ) USING (source)
    ORDER BY share DESC, source LIMIT $shown"""
_CLUSTERS = """
    SELECT coalesce(cluster, via, caption_id) AS cluster, count(*) AS removed,
           count(*) / $samples AS share
    FROM listed WHERE action IN ('drop', 'cap') AND caption_id IS NOT NULL
    GROUP BY ALL ORDER BY removed DESC, cluster LIMIT $shown"""


@dataclass(frozen=True)
class Heaviest:
    """The sources and clusters that lose most, worst first, with counts and shares."""

    sources: list[dict[str, Any]]
    clusters: list[dict[str, Any]]


def heaviest(tables: RunTables, samples: int) -> Heaviest:
    """Of the table listed; a source's share is of its own samples, a cluster's of all."""
    sources = tables.query(_SOURCES, {"shown": SHOWN}).to_pylist()
    clusters = tables.query(_CLUSTERS, {"shown": SHOWN, "samples": samples}).to_pylist()
    return Heaviest(sources, clusters)


def unnamed(items: Sequence[dict[str, Any]], what: str) -> list[str]:
    """How many of the heaviest come after those that are named, as a text; nothing for none."""
    more = len(items) - NAMED
    or_more = " or more" if len(items) == SHOWN else ""
    return [f"{more}{or_more} other {what}{'s' * (more != 1)}"] if more > 0 else []


def check(found: Heaviest, limits: Limits, policy: str) -> None:
    """Raises UserError where a source or a cluster loses more than its limit."""
    over = [item for item in found.sources if item["share"] > limits.source]
    if over:
        worst = over[0]
        raise UserError(
            f"policy {policy} removes {worst['removed']:,} of "
            f"{counted(worst['samples'], 'sample')} ({worst['share']:.1%}) of {worst['source']}, "
            f"and limits.source allows {limits.source:.0%}{_others(over, 'source')}. Look at the "
            "rules, raise the limit in the policy, or pass --force"
        )
    wide = [item for item in found.clusters if item["share"] > limits.cluster]
    if wide:
        worst = wide[0]
        raise UserError(
            f"policy {policy} removes {counted(worst['removed'], 'sample')} of the one cluster of "
            f"near-duplicate captions {worst['cluster']}, {worst['share']:.1%} of the whole data "
            f"set, and limits.cluster allows {limits.cluster:.0%}{_others(wide, 'cluster')}. Look "
            "at the cluster's captions, raise the limit in the policy, or pass --force"
        )


def _others(over: Sequence[dict[str, Any]], what: str) -> str:
    """Those beside the worst: the next ones by name, and how many more."""
    others = [f"{item[what]} ({item['share']:.1%})" for item in over[1:NAMED]]
    others += unnamed(over, what)
    return f"; too much goes of {joined(others)} as well" if others else ""
