"""Collect the content of a report by querying a run; nothing is scored again."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scanner.calibration import (
    Labels,
    ReviewedPrecision,
    labels_differ_in_style,
    match_labels,
    reviewed_precision,
)
from scanner.curation import Policy, Summary, make_list, summarize
from scanner.query import Coverage, RunTables, library, measure_coverage
from scanner.report.expected import ExpectedMemorized, expected_memorized
from scanner.report.headline import (
    HeadlineSentence,
    NullSelection,
    VerdictCounts,
    count_beyond_threshold,
    count_verdicts,
    headline,
)
from scanner.report.rows import Row, ranked_rows
from scanner.report.rules import RuleRow, rule_rows
from scanner.run import Run
from scanner.run.verdicts import COPIES, SEED_CONSISTENT

BINS = 40
OTHERS = "other captions"
# Number of captions per signal, bin and kind.
_BINS = """
    WITH ends AS (
        SELECT signal, min(value) AS low, max(value) AS high FROM signals GROUP BY signal
    ),
    binned AS (
        SELECT signal, low, high, coalesce(truth.kind, $others) AS kind,
               least(floor((value - low) / nullif(high - low, 0) * $bins), $bins - 1) AS bin
        FROM signals JOIN ends USING (signal) LEFT JOIN truth USING (caption_id)
    )
    SELECT signal, kind, low + (high - low) * coalesce(bin, 0) / $bins AS "from",
           low + (high - low) * (coalesce(bin, 0) + 1) / $bins AS "to", count(*) AS captions
    FROM binned GROUP BY ALL ORDER BY ALL"""
_VERDICTS = """
    SELECT caption_id, 'copied, by verdict' AS kind FROM verdicts
    WHERE list_contains($copies, verdict)"""
_LABELS = "SELECT unnest($ids) AS caption_id, 'memorized, by label' AS kind"
_SCORED_SAMPLES = """
    SELECT count(*) AS pairs, count(DISTINCT caption_id) AS captions FROM sample_scores"""


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page except its images.

    ``headline``: see :mod:`scanner.report.headline`. ``doubtful``: the calibration's labels differ
    in style. ``rows``: the top of the ranking (:func:`scanner.report.rows.ranked_rows`).
    ``policy``: what a policy would remove; ``rules``: the same per rule. ``scored_samples``: pairs
    of a caption and an image with a sample score, and their captions. ``reviewed``: precision by
    the labels of reviewers.
    ``evaluation``: of the calibration (see ``memscan calibrate --json``), None without one.
    ``count_seed_consistent``: whether ``precision`` counts seed-consistent captions as copies.
    """

    run: str
    record: Row
    counts: Row
    signal: str
    headline: tuple[HeadlineSentence, ...]
    doubtful: bool
    expected: ExpectedMemorized
    verdicts: VerdictCounts
    scored_samples: Row
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
    reviewed: list[ReviewedPrecision]
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
) -> ReportContent:
    """Query everything that the report shows. Memorized captions are known by labels, or else by
    verdicts.

    ``null``: a calibration's selection without labels (:func:`scanner.calibration.read_null`).
    ``count_seed_consistent``: count seed-consistent captions as copies. Raises UserError if the
    policy or the labels do not match the run.
    """
    manifest, record = Run.existing(run).manifest(), Run.existing(run).record()
    assert manifest is not None, "open_run checked it"
    assert record is not None, "a sealed run has one"
    signal, counts = tables.rank_by(), manifest["counts"]
    _materialize_truth(tables, labels, count_seed_consistent)
    expected, verdicts = expected_memorized(tables), count_verdicts(tables)
    covered = measure_coverage(tables)
    selection = None
    if null:
        beyond = count_beyond_threshold(tables)
        selection = NullSelection(null["null"], null["fdr"], null["length"], beyond)
    doubtful = bool(evaluation and labels_differ_in_style(evaluation))
    rejected = (counts["rejects"], counts.get("pairs", counts["rows"]))
    summary = summarize(make_list(run, tables, policy), run, "")
    return ReportContent(
        run=run,
        record=record,
        counts=counts,
        signal=signal,
        headline=headline(expected, verdicts, covered, selection, doubtful, rejected),
        doubtful=doubtful,
        expected=expected,
        verdicts=verdicts,
        scored_samples=tables.query(_SCORED_SAMPLES).to_pylist()[0],
        scanned=covered,
        bins=tables.query(_BINS, {"bins": BINS, "others": OTHERS}).to_pylist(),
        repetition=_run_query(tables, "duplicates_and_scores"),
        agreement=_run_query(tables, "signal_agreement"),
        rows=ranked_rows(tables, top),
        templates=_run_query(tables, "templates", limit=20),
        words=_run_query(tables, "trigger_words", limit=20),
        spans=_run_query(tables, "trigger_spans", limit=20),
        sources=_run_query(tables, "by_source", limit=20),
        hosts=_hosts(tables),
        quality=_run_query(tables, "run_quality"),
        precision=_precision(tables, count_seed_consistent),
        reviewed=reviewed_precision(tables),
        count_seed_consistent=count_seed_consistent,
        policy=summary,
        rules=rule_rows(policy, summary),
        evaluation=evaluation,
    )


def _precision(tables: RunTables, count_seed_consistent: bool) -> list[Row]:
    counts = int(count_seed_consistent)
    return _run_query(tables, "precision_at_depth", count_seed_consistent=counts)


def _materialize_truth(
    tables: RunTables, labels: Labels | None, count_seed_consistent: bool
) -> None:
    """Create the table of memorized captions, by labels or else by verdicts."""
    if labels:
        labeled = match_labels(tables, labels)
        memorized = labeled.table["caption_id"].filter(pa.array(labeled.memorized))
        tables.create_table("truth", _LABELS, {"ids": memorized.to_pylist()})
        return
    copies = [*COPIES, *([SEED_CONSISTENT] if count_seed_consistent else [])]
    tables.create_table("truth", _VERDICTS, {"copies": copies})


def _run_query(tables: RunTables, name: str, **parameters: Any) -> list[Row]:
    query = library()[name]
    return tables.query(query.sql, {**query.parameters, **parameters}).to_pylist()


def _hosts(tables: RunTables) -> list[Row]:
    """Count flagged samples by host, if samples have a URL column."""
    names = tables.query("FROM samples LIMIT 0").column_names
    column = next((name for name in names if name.lower() in ("url", "image_url")), None)
    return _run_query(tables, "by_source", column=column, limit=20) if column else []
