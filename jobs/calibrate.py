"""Fit a calibration on labels, or select captions at a given FDR.

With --labels: measures how well each signal and their combination separate memorized captions, and
fits a calibration for rank, sql, curate and report, without a threshold for signals whose
documented direction the labels contradict. Without labels: selects captions at a target false
discovery rate (Benjamini–Hochberg) against reference captions, which are known not to be in the
training set (memscan scan --reference).

Label captions with memscan review, or generate from them with memscan verify. The output says how
precise the figures are, and how many labels would make them precise.

Examples: memscan calibrate RUN --labels labels.csv --out calibration.json
          memscan calibrate RUN --calibration calibration.json --fdr 0.05
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jobs.console.calibration_output import (
    few_labels,
    print_discovery,
    print_evaluation,
    print_label_counts,
    print_thresholds,
    reversed_directions,
)
from jobs.console.calibrations import evaluation_of, named_calibration, named_labels, warn_of_style
from jobs.console.early_checks import check_calibration, check_files, check_labels, check_run
from jobs.console.escaping import printable
from jobs.console.terminal import command, next_step, print_json, show, warn
from scanner.errors import UsageError
from scanner.plurals import pluralize

if TYPE_CHECKING:
    from scanner.calibration import Discovery, LabeledCaptions, LabelEvaluation
    from scanner.query import Calibration, RunTables


log = logging.getLogger("memscan")

SHOWN_LETTERS = 60


@dataclass(frozen=True)
class CalibrateConfig:
    """Run, labels and error rates."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    labels: str | None = None
    """A csv, tsv, jsonl or parquet file with a column caption (or prompt or text), caption_id or
    key and a column memorized, label or verdict (true or false, 1 or 0, verbatim, template or
    none); or "verdicts" for the run's verdicts (what memscan verify concluded from generated
    images), "decisions" for what people labeled with memscan review. A column verdict beside
    memorized tells verbatim from template copies, which are then also evaluated separately. Public
    lists are read as published: type (VM, TM) and overfit_type (MV, RV, TV, N) are verdicts, and
    sscd, max_sscd or mean_sscd is the similarity of the caption's generations to a training image,
    from 0 to 1. Without any other label, that similarity, or a column similarity, is the label."""
    memorized: tuple[str, ...] = ()
    """Lists of memorized captions, which label them, alone or beside --labels: a txt with one
    caption per line, or a file with a column caption."""
    not_memorized: tuple[str, ...] = ()
    """Lists of captions that are not memorized, in the same formats."""
    similarity_column: str | None = None
    """With --labels: column of similarities from 0 to 1, for example mean_sscd; needed if it has
    another name than those above. With --labels verdicts: a similarity that verify measured, for
    example likeness_embedding."""
    similarity_threshold: float | None = None
    """With similarities: the least similarity that counts as memorized, for fitting and thresholds
    (for example 0.5). By default the labels decide; without labels, 0.7."""
    count_seed_consistent: bool = False
    """With labels that are verdicts: count seed-consistent captions as memorized. By default they
    are skipped, since no training image shows that they are copies."""
    out: str | None = None
    """Write the calibration to this file or URL."""
    prevalence: float | None = None
    """With --labels: share of memorized captions in the data to rank, which probabilities depend on
    (for example 0.001); by default the share among the labels."""
    fpr: float = 0.01
    """With --labels: false-positive rate of the thresholds in the calibration."""
    fdr: float = 0.1
    """Target false discovery rate of the selection; with --labels, an additional target for the
    empirical check."""
    by: str | None = None
    """Without --labels: the signal to select by; by default the one that memscan rank
    uses."""
    calibration: str | None = None
    """Without --labels: select by the combination of this calibration (a file, or testbed)."""
    null: Literal["reference", "bulk"] = "reference"
    """Without --labels: the null distribution. "reference": the captions of scan
    --reference; "bulk": a normal distribution fitted to the run's own scores, which is an
    assumption."""
    json: bool = False
    """Print the result as JSON."""

    @property
    def has_labels(self) -> bool:
        return bool(self.labels or self.memorized or self.not_memorized)


def main(arguments: Sequence[str] | None = None) -> int:
    return command(CalibrateConfig, "calibrate", __doc__, _calibrate, arguments)


def _calibrate(config: CalibrateConfig) -> int:
    _check(config)
    check_run(config.run)
    check_calibration(config.calibration)
    check_labels(config.labels)
    check_files("--memorized", config.memorized)
    check_files("--not-memorized", config.not_memorized)
    log.info(f"reading {config.run}")
    return _by_labels(config) if config.has_labels else _by_null(config)


def _check(config: CalibrateConfig) -> None:
    for name in ("prevalence", "fpr", "fdr", "similarity_threshold"):
        value = getattr(config, name)
        if value is not None and not 0 < value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value}: must be between 0 and 1")
    for name in ("similarity_column", "similarity_threshold"):
        if getattr(config, name) is not None and not config.labels:
            raise UsageError(f"--{name.replace('_', '-')} needs --labels FILE or --labels verdicts")
    unlabeled_only = [name for name in ("by", "calibration") if getattr(config, name)]
    unlabeled_only += ["null"] if config.null != "reference" else []
    if config.has_labels and unlabeled_only:
        raise UsageError(
            f"--{unlabeled_only[0]} cannot be used with --labels, --memorized or --not-memorized"
        )
    if config.labels in ("verdicts", "decisions") and (config.memorized or config.not_memorized):
        raise UsageError(
            f"--labels {config.labels} cannot be combined with --memorized or --not-memorized"
        )
    if config.count_seed_consistent and not config.labels:
        raise UsageError("--count-seed-consistent needs --labels, for example --labels verdicts")
    if config.prevalence is not None and not config.has_labels:
        raise UsageError("--prevalence needs --labels FILE, which the probabilities are fitted on")
    if config.fpr != CalibrateConfig.fpr and not config.has_labels:
        raise UsageError("--fpr needs --labels FILE, which the thresholds are fitted on")


def _by_labels(config: CalibrateConfig) -> int:
    from scanner.calibration import (
        SimilarityOptions,
        calibrate,
        evaluation_record,
        match_labels,
        write_calibration,
    )
    from scanner.query import open_run

    tables = open_run(config.run)
    similarity = SimilarityOptions(config.similarity_column, config.similarity_threshold)
    labels = named_labels(
        config.labels,
        tables,
        config.count_seed_consistent,
        similarity,
        config.memorized,
        config.not_memorized,
    )
    labeled = match_labels(tables, labels)
    evaluation, calibration = calibrate(tables, labeled, config.prevalence, config.fpr, config.fdr)
    record = evaluation_record(evaluation)
    if config.out:
        write_calibration(config.out, calibration, record)
    for problem in reversed_directions(evaluation):
        warn(problem)
    if config.json:
        skipped = {
            "unknown": labeled.unknown,
            "contradicted": labeled.contradicted,
            "unlabeled": labels.unlabeled,
            "seed_consistent": labels.seed_consistent,
        }
        counts = [asdict(one) for one in evaluation.label_counts]
        print_json({**record, "labels": skipped, "label_counts": counts, "out": config.out})
        return 0
    _print_labeled(labeled, evaluation)
    _print_sampling(config, labeled)
    print_evaluation(evaluation, prior_given=config.prevalence is not None)
    print_label_counts(evaluation)
    print_thresholds(calibration)
    warn_of_style(record)
    if problem := few_labels(evaluation):
        warn(problem)
    _print_next(config)
    return 0


def _by_null(config: CalibrateConfig) -> int:
    from scanner.calibration import discover, discovery_record, write_calibration
    from scanner.query import open_run

    calibration = named_calibration(config.calibration)
    tables = open_run(config.run, calibration=calibration)
    discovery = discover(tables, config.by, config.fdr, config.null)
    record = discovery_record(discovery)
    if config.null == "reference":
        _report_overlap(tables)
    if calibration and calibration.references and discovery.kind == "reference":
        warn(
            f"{calibration.source} was fitted on {calibration.references:,} reference "
            "captions of its run; if this run has the same ones, the realized FDR exceeds the "
            "target"
        )
    if config.out:
        earlier = evaluation_of(config.calibration) or {}
        updated = _with_threshold(tables, discovery)
        write_calibration(config.out, updated, {**earlier, "null": record})
    if config.json:
        print_json({"null": record, "out": config.out})
        return 0
    print_discovery(discovery, record["assumption"])
    _print_next(config)
    return 0


def _report_overlap(tables: "RunTables") -> None:
    query = """SELECT count(DISTINCT caption_id) AS n
        FROM samples SEMI JOIN (FROM captions WHERE NOT is_reference) USING (caption_id)
        WHERE is_reference"""
    both = tables.query(query)["n"][0].as_py()
    if both:
        warn(f"{both:,} reference captions excluded: they are also in the training set")


def _with_threshold(tables: "RunTables", discovery: "Discovery") -> "Calibration":
    """Return the run's calibration, if any, with the selection's threshold for its signal."""
    from scanner.calibration import selection_threshold
    from scanner.query import Calibration, binding_of

    before = tables.calibration or Calibration("", binding_of(tables.fingerprint), {}, 0.0, ())
    others = tuple(one for one in before.thresholds if one.signal != discovery.signal)
    threshold = selection_threshold(discovery, tables.schema)
    return replace(before, thresholds=others + ((threshold,) if threshold else ()))


def _print_labeled(labeled: "LabeledCaptions", evaluation: "LabelEvaluation") -> None:
    at_least = f" (similarity ≥ {labeled.threshold:g})" if labeled.threshold is not None else ""
    show(
        f"{evaluation.captions:,} labeled captions, {evaluation.memorized:,} of them memorized"
        f"{at_least}, in {evaluation.clusters:,} clusters of near-duplicates"
    )
    if labeled.unknown:
        verb = "matches" if labeled.unknown == 1 else "match"
        shown = ", ".join(repr(name[:SHOWN_LETTERS]) for name in labeled.first_unknown)
        what = f"{pluralize(labeled.unknown, 'label')} {verb} no caption that this run has scored"
        warn(f"{what}, such as {shown}")
    if labeled.contradicted:
        warn(f"{labeled.contradicted:,} captions with contradictory labels excluded")


def _print_sampling(config: CalibrateConfig, labeled: "LabeledCaptions") -> None:
    """Print how the labeled captions were chosen, which limits what the figures hold for."""
    if config.labels == "verdicts":
        warn(
            "only some captions were chosen for verification, so these figures hold for "
            "captions chosen the same way, not for all"
        )
    if config.labels == "decisions":
        if labeled.weights is None:
            warn(
                "no labeled caption was drawn at random, so these figures hold for captions chosen "
                "the same way, not for all; review some in the order random sample"
            )
        else:
            show("captions drawn at random are weighted by 1 / sampling probability")


def _print_next(config: CalibrateConfig) -> None:
    if config.out:
        show(f"\ncalibration  {printable(config.out)}")
        next_step("memscan", "rank", config.run, "--calibration", config.out)
    else:
        show("\nnothing written; add --out FILE to save the calibration")


if __name__ == "__main__":
    sys.exit(main())
