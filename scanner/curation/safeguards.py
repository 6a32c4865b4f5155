"""Limits on what a policy may remove of one source or one cluster."""

from dataclasses import dataclass
from typing import Any

from scanner.curation.policy import Limits
from scanner.errors import UserError
from scanner.query import RunTables

SHOWN = 10
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


def check(found: Heaviest, limits: Limits, policy: str) -> None:
    """Raises UserError where a source or a cluster loses more than its limit."""
    over = [item for item in found.sources if item["share"] > limits.source]
    if over:
        worst = over[0]
        raise UserError(
            f"policy {policy} removes {worst['removed']:,} of {worst['samples']:,} samples "
            f"({worst['share']:.1%}) of {worst['source']}, and limits.source allows "
            f"{limits.source:.0%}{_others(len(over) - 1, 'source')}; nothing was written. Look at "
            "the rules, raise the limit in the policy, or pass --force"
        )
    wide = [item for item in found.clusters if item["share"] > limits.cluster]
    if wide:
        worst = wide[0]
        raise UserError(
            f"policy {policy} removes {worst['removed']:,} samples of the one cluster of "
            f"near-duplicate captions {worst['cluster']}, {worst['share']:.1%} of the whole data "
            f"set, and limits.cluster allows {limits.cluster:.0%}"
            f"{_others(len(wide) - 1, 'cluster')}; nothing was written. Look at the cluster's "
            "captions, raise the limit in the policy, or pass --force"
        )


def _others(count: int, what: str) -> str:
    more = f"{count} or more" if count >= SHOWN - 1 else str(count)
    return f" ({more} other {what}{'s' * (count != 1)} as well)" if count else ""
