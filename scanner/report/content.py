"""What a report says of a run: numbers and rows, all by queries, none scored again."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scanner.calibration import Labels, labels_differ_in_style, match_labels
from scanner.curation import Policy, Summary, make_list, summarize
from scanner.query import Coverage, RunTables, library, measure_coverage, rank
from scanner.report.headline import (
    Null,
    Statement,
    Verified,
    beyond_threshold,
    headline,
    verified,
)
from scanner.report.likely import Likely, likely
from scanner.report.rules import RuleRow, rule_rows
from scanner.run import Run
from scanner.run.verdicts import COPIES, SEED_CONSISTENT

BINS = 40
OTHERS = "other captions"
Row = dict[str, Any]
# Of each signal how many captions fall into each of BINS bins, by what is known of them.
_BINS = """
    WITH ends AS (
        SELECT signal, min(value) AS low, max(value) AS high FROM signals GROUP BY signal
    ),
    placed AS (
        SELECT signal, low, high, coalesce(truth.kind, $others) AS kind,
               least(floor((value - low) / nullif(high - low, 0) * $bins), $bins - 1) AS bin
        FROM signals JOIN ends USING (signal) LEFT JOIN truth USING (caption_id)
    )
    SELECT signal, kind, low + (high - low) * coalesce(bin, 0) / $bins AS "from",
           low + (high - low) * (coalesce(bin, 0) + 1) / $bins AS "to", count(*) AS captions
    FROM placed GROUP BY ALL ORDER BY ALL"""
_VERDICTS = """
    SELECT caption_id, 'copied, by verdict' AS kind FROM verdicts
    WHERE list_contains($copies, verdict)"""
_LABELS = "SELECT unnest($ids) AS caption_id, 'memorized, by label' AS kind"
_EXTRA = """
    SELECT ranked.* EXCLUDE (caption), verdict, images, reference_source, reference_row
    FROM (
        SELECT COLUMNS(lambda name: list_contains(
            ['caption_id', 'caption', 'probability', 'token_mass'], name
        ))
        FROM ranked
    ) AS ranked LEFT JOIN (
        SELECT caption_id, verdict, images, reference_source, reference_row FROM verdicts
    ) AS verdicts USING (caption_id)
    WHERE list_contains($ids, caption_id)"""


@dataclass(frozen=True)
class Content:
    """Everything on the page but its pictures.

    ``headline``: what holds of the run (see :mod:`scanner.report.headline`); ``doubtful``: the
    labels of the calibration differ in style. ``rows``: the first of the ranking, with verdicts and
    evidence where there are some. ``policy``: what a policy would remove, ``rules`` rule by rule.
    ``evaluation``: a calibration's own (see ``memscan calibrate --json``), None without one.
    ``count_seed_consistent``: whether ``precision`` takes seed-consistent captions for copies.
    """

    run: str
    record: Row
    counts: Row
    signal: str
    headline: tuple[Statement, ...]
    doubtful: bool
    likely: Likely
    verified: Verified
    scanned: Coverage
    bins: list[Row]
    repetition: list[Row]
    agreement: list[Row]
    rows: list[Row]
    templates: list[Row]
    words: list[Row]
    spans: list[Row]
    sources: list[Row]
    hosts: list[Row]
    quality: list[Row]
    precision: list[Row]
    count_seed_consistent: bool
    policy: Summary
    rules: list[RuleRow]
    evaluation: Row | None


def gather(
    run: str,
    tables: RunTables,
    policy: Policy,
    evaluation: Row | None,
    top: int,
    labels: Labels | None = None,
    null: Row | None = None,
    count_seed_consistent: bool = False,
) -> Content:
    """Ask everything of the run; what is memorized is known by labels, or else by verdicts.

    ``null``: what a calibration without labels records of its list
    (:func:`scanner.calibration.read_null`). ``count_seed_consistent``: take seed-consistent
    captions for copies. Raises UserError for a policy or labels that do not fit it.
    """
    manifest, record = Run.existing(run).manifest(), Run.existing(run).record()
    assert manifest is not None, "open_run has looked"
    assert record is not None, "a sealed run has one"
    signal, counts = tables.decide(), manifest["counts"]
    _take_truth(tables, labels, count_seed_consistent)
    expected, judged = likely(tables), verified(tables)
    covered = measure_coverage(tables, record["inputs"].get("limit"))
    listed = null and Null(null["null"], null["fdr"], null["length"], beyond_threshold(tables))
    doubtful = bool(evaluation and labels_differ_in_style(evaluation))
    rejected = (counts["rejects"], counts["rows"])
    summary = summarize(make_list(run, tables, policy), run, "")
    return Content(
        run=run,
        record=record,
        counts=counts,
        signal=signal,
        headline=headline(expected, judged, covered, listed or None, doubtful, rejected),
        doubtful=doubtful,
        likely=expected,
        verified=judged,
        scanned=covered,
        bins=tables.query(_BINS, {"bins": BINS, "others": OTHERS}).to_pylist(),
        repetition=_ask(tables, "duplicates_and_scores"),
        agreement=_ask(tables, "signal_agreement"),
        rows=_rows(tables, top),
        templates=_ask(tables, "templates", limit=20),
        words=_ask(tables, "trigger_words", limit=20),
        spans=_ask(tables, "trigger_spans", limit=20),
        sources=_ask(tables, "by_source", limit=20),
        hosts=_hosts(tables),
        quality=_ask(tables, "run_quality"),
        precision=_ask(
            tables, "precision_at_depth", count_seed_consistent=int(count_seed_consistent)
        ),
        count_seed_consistent=count_seed_consistent,
        policy=summary,
        rules=rule_rows(policy, summary),
        evaluation=evaluation,
    )


def _take_truth(tables: RunTables, labels: Labels | None, count_seed_consistent: bool) -> None:
    """Make the table of the captions that are memorized, by labels or else by verdicts."""
    if labels:
        found = match_labels(tables, labels)
        memorized = found.table["caption_id"].filter(pa.array(found.memorized))
        tables.create_table("truth", _LABELS, {"ids": memorized.to_pylist()})
        return
    copies = [*COPIES, *([SEED_CONSISTENT] if count_seed_consistent else [])]
    tables.create_table("truth", _VERDICTS, {"copies": copies})


def _ask(tables: RunTables, name: str, **given: Any) -> list[Row]:
    query = library()[name]
    return tables.query(query.sql, {**query.parameters, **given}).to_pylist()


def _hosts(tables: RunTables) -> list[Row]:
    """By host, where the samples carry a URL."""
    names = tables.query("FROM samples LIMIT 0").column_names
    column = next((name for name in names if name.lower() in ("url", "image_url")), None)
    return _ask(tables, "by_source", column=column, limit=20) if column else []


def _rows(tables: RunTables, top: int) -> list[Row]:
    """The ranked rows with what verification found."""
    ranked = rank(tables, top).to_pylist()
    found = tables.query(_EXTRA, {"ids": [row["caption_id"] for row in ranked]}).to_pylist()
    extra = {row["caption_id"]: row for row in found}
    return [{**extra[row["caption_id"]], **row} for row in ranked]
