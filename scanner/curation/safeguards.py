"""Limit what a policy may remove from one source or one cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scanner.curation.policy import Limits
from scanner.errors import UserError
from scanner.plurals import join_with_and, pluralize
from scanner.query import RunTables

SHOWN = 10
NAMED = 3
# A flagged caption without a cluster is its own cluster.
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
class HeaviestLosses:
    """The sources and clusters that lose the largest shares, in descending order."""

    sources: list[dict[str, Any]]
    clusters: list[dict[str, Any]]


def heaviest(tables: RunTables, samples: int) -> HeaviestLosses:
    """Measure the table listed: a source's share of its samples, a cluster's of all samples."""
    sources = tables.query(_SOURCES, {"shown": SHOWN}).to_pylist()
    clusters = tables.query(_CLUSTERS, {"shown": SHOWN, "samples": samples}).to_pylist()
    return HeaviestLosses(sources, clusters)


def unnamed(items: Sequence[dict[str, Any]], what: str) -> list[str]:
    """Return a text that counts the items after those that are named; empty if there are none."""
    more = len(items) - NAMED
    or_more = " or more" if len(items) == SHOWN else ""
    return [f"{more}{or_more} other {what}{'s' * (more != 1)}"] if more > 0 else []


def check(losses: HeaviestLosses, limits: Limits, policy: str) -> None:
    """Raise UserError if a source or a cluster loses more than its limit."""
    sources = [item for item in losses.sources if item["share"] > limits.source]
    if sources:
        worst = sources[0]
        raise UserError(
            f"policy {policy} removes {worst['removed']:,} of "
            f"{pluralize(worst['samples'], 'sample')} ({worst['share']:.1%}) of {worst['source']}; "
            f"limits.source allows {limits.source:.0%}{_others(sources, 'source')}. Check the "
            "rules, raise the limit in the policy, or pass --force"
        )
    clusters = [item for item in losses.clusters if item["share"] > limits.cluster]
    if clusters:
        worst = clusters[0]
        raise UserError(
            f"policy {policy} removes {pluralize(worst['removed'], 'sample')} of cluster "
            f"{worst['cluster']} (near-duplicate captions), {worst['share']:.1%} of all samples; "
            f"limits.cluster allows {limits.cluster:.0%}{_others(clusters, 'cluster')}. Check the "
            "cluster's captions, raise the limit in the policy, or pass --force"
        )


def _others(exceeding: Sequence[dict[str, Any]], what: str) -> str:
    """Name the next items that exceed the limit, and count the rest."""
    others = [f"{item[what]} ({item['share']:.1%})" for item in exceeding[1:NAMED]]
    others += unnamed(exceeding, what)
    return f"; also exceeded by {join_with_and(others)}" if others else ""
