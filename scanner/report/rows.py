"""The ranked captions of a report: with verdicts, the policy's rule, sources and clusters."""

from collections import Counter
from typing import Any

from scanner.query import RunTables, rank
from scanner.run.verdicts import OTHER

# Sources that captions can be filtered by: those of the most captions.
MOST_SOURCES = 50
Row = dict[str, Any]
_VERDICTS = """
    SELECT ranked.* EXCLUDE (caption), verdicts.* EXCLUDE (caption_id), decided, is_disputed
    FROM (
        SELECT COLUMNS(lambda name: list_contains(
            ['caption_id', 'caption', 'probability', 'token_mass'], name
        ))
        FROM ranked
    ) AS ranked LEFT JOIN (
        SELECT caption_id, verdict, images, reference_source, reference_row, source_match,
               source_keys[1] AS source_key, source_similarities[1] AS source_similarity,
               source_file, source_row, source_caption_ids
        FROM verdicts
    ) AS verdicts USING (caption_id) LEFT JOIN (
        SELECT caption_id, is_disputed,
               concat_ws(', ', if(label = 'none', 'not memorized', label), decision) AS decided
        FROM reviewed
    ) AS reviewed USING (caption_id)
    WHERE list_contains($ids, caption_id)"""

# The rule that decides, and the samples that the caption loses, also to another caption's image.
_POLICY = """
    SELECT caption_id, reasons[1] AS rule, coalesce(action, 'same-image') AS action,
           coalesce(removed, 0) AS removed
    FROM (
        SELECT caption_id, matched.reasons, policy_rules.action
        FROM matched JOIN policy_rules ON policy_rules.rule = rules[1]
    ) AS rules FULL JOIN (
        SELECT caption_id, count(*) FILTER (action IN ('drop', 'cap')) AS removed
        FROM listed WHERE rule IS NOT NULL GROUP BY caption_id HAVING removed > 0
    ) AS listed USING (caption_id)
    WHERE list_contains($ids, caption_id)"""
_SOURCES = """
    WITH places AS MATERIALIZED (
        SELECT DISTINCT caption_id, source
        FROM samples SEMI JOIN (SELECT unnest($ids) AS caption_id) USING (caption_id)
        WHERE NOT is_reference
    ),
    most AS (
        SELECT source FROM places GROUP BY source ORDER BY count(*) DESC, source LIMIT $most
    )
    SELECT caption_id, list(source ORDER BY source) AS sources
    FROM places SEMI JOIN most USING (source) GROUP BY caption_id"""

# Captions that share the training image that another caption reproduces.
_SOURCE_CAPTIONS = """
    SELECT caption_id, caption FROM captions WHERE list_contains($ids, caption_id)"""

# Where an image is may depend on any column of its sample.
_SAMPLES = """
    SELECT * FROM samples
    WHERE list_contains($ids, caption_id)
      AND list_contains($places, {source: source, "row": "row"})"""
PLACES = {
    "reference_sample": ("reference_source", "reference_row"),
    "source_sample": ("source_file", "source_row"),
}


def ranked_rows(tables: RunTables, top: int) -> list[Row]:
    """Return the ranked captions joined with what the page shows of them.

    In addition to the columns of sql/rank.sql and of verdicts: ``rule`` (None without one),
    ``action`` and ``removed`` samples by the policy, whose list must have been made; ``sources``;
    ``near`` (number of captions in the cluster); the samples whose images are shown;
    and ``source_captions``, the captions of the training image that a caption reproduces if it is
    not its own.
    """
    ranked = rank(tables, top).to_pylist()
    ids = [row["caption_id"] for row in ranked]
    verdicts = _by_caption(tables, _VERDICTS, ids=ids)
    policy = _by_caption(tables, _POLICY, ids=ids)
    sources = _by_caption(tables, _SOURCES, ids=ids, most=MOST_SOURCES)
    sizes = Counter(row["cluster"] for row in ranked)
    none = {"rule": None, "action": None, "removed": 0}
    rows = [
        {
            **verdicts[row["caption_id"]],
            **policy.get(row["caption_id"], none),
            "sources": sources.get(row["caption_id"], {"sources": []})["sources"],
            "near": sizes[row["cluster"]],
            **row,
        }
        for row in ranked
    ]
    _add_source_captions(tables, rows, ids)
    return rows


def _by_caption(tables: RunTables, sql: str, **parameters: Any) -> dict[str, Row]:
    rows = tables.query(sql, parameters).to_pylist()
    return {row["caption_id"]: row for row in rows}


def _add_source_captions(tables: RunTables, rows: list[Row], shown: list[str]) -> None:
    foreign = [row for row in rows if row["source_match"] == OTHER]
    ids = {name for row in foreign for name in row["source_caption_ids"] or ()}
    found = _by_caption(tables, _SOURCE_CAPTIONS, ids=sorted(ids)) if ids else {}
    _add_samples(tables, rows, sorted(ids.union(shown)))
    for row in foreign:
        row["source_captions"] = [
            found[name]["caption"] for name in row["source_caption_ids"] or () if name in found
        ]


def _add_samples(tables: RunTables, rows: list[Row], ids: list[str]) -> None:
    """Add the samples of PLACES to the rows; ``ids``: these samples' captions."""
    places = [
        {"source": row[source], "row": row[number]}
        for source, number in PLACES.values()
        for row in rows
        if row[source] is not None
    ]
    found = tables.query(_SAMPLES, {"ids": ids, "places": places}).to_pylist() if places else []
    samples = {(one["source"], one["row"]): one for one in found}
    for row in rows:
        for name, (source, number) in PLACES.items():
            row[name] = samples.get((row[source], row[number]))
