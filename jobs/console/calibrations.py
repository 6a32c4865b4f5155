"""Open what the options --calibration and --labels name."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobs.console.terminal import warn
from scanner.errors import UsageError
from scanner.query import Calibration, RunTables

if TYPE_CHECKING:
    from scanner.calibration import Labels, SimilarityOptions


def evaluation_of(name: str | None) -> dict[str, Any] | None:
    """Return the calibration's stored evaluation on labeled captions; None if it was made without
    labels. Raises UserError."""
    if name is None:
        return None
    from scanner.calibration import read_evaluation

    return read_evaluation(_url(name))


def null_of(name: str | None) -> dict[str, Any] | None:
    """Return the calibration's stored selection without labels, or None. Raises UserError."""
    if name is None:
        return None
    from scanner.calibration import read_null

    return read_null(_url(name))


def named_calibration(name: str | None) -> Calibration | None:
    """Read a calibration from a file or URL, or, for a testbed's name, the one in this package.

    Warns if its labels may differ in style. Raises UserError.
    """
    if name is None:
        return None
    from scanner.calibration import read_calibration

    calibration = read_calibration(_url(name))
    warn_of_style(evaluation_of(name), f"{name}: ")
    return calibration


def warn_of_style(evaluation: dict[str, Any] | None, prefix: str = "") -> None:
    """Warn if the labels may differ in style rather than in memorization."""
    from scanner.calibration import labels_differ_in_style

    if evaluation and labels_differ_in_style(evaluation):
        auc = evaluation["text_only"]["text_combination"]["auc"]
        warn(
            f"{prefix}text features alone (text_combination, AUC {auc:.2f}) predict the labels, "
            "and the signals are not significantly better: the two groups of labeled captions "
            "differ in style, so this is not evidence of memorization; label captions of one style"
        )


def named_labels(
    name: str | None,
    tables: RunTables,
    count_seed_consistent: bool,
    similarity: "SimilarityOptions | None" = None,
    memorized: Sequence[str] = (),
    not_memorized: Sequence[str] = (),
) -> "Labels":
    """Read labels from a file or URL, or, for ``verdicts`` and ``decisions``, from the run's.

    ``memorized``, ``not_memorized``: lists of captions that are added. Reports how many rows are
    skipped, and the threshold of similarities. Raises UserError.
    """
    from scanner.calibration import SimilarityOptions, join_labels, read_list

    similarity = similarity or SimilarityOptions()
    parts = [_labels_of(name, tables, count_seed_consistent, similarity)] if name else []
    parts += [read_list(url, True) for url in memorized]
    parts += [read_list(url, False) for url in not_memorized]
    labels = join_labels(parts)
    if labels.threshold is not None and similarity.threshold is None:
        warn(
            f"no labels in {name}: captions with a similarity of at least {labels.threshold:g} "
            "count as memorized; memscan calibrate --similarity-threshold sets another threshold"
        )
    if labels.unlabeled:
        warn(f"{labels.unlabeled:,} rows without a label skipped")
    if labels.seed_consistent:
        warn(
            f"{labels.seed_consistent:,} seed-consistent verdicts skipped: no training "
            "image shows a copy; --count-seed-consistent counts them as memorized"
        )
    return labels


def _labels_of(
    name: str, tables: RunTables, count_seed_consistent: bool, similarity: "SimilarityOptions"
) -> "Labels":
    from scanner.calibration import (
        SimilarityOptions,
        decision_labels,
        read_labels,
        verdict_labels,
    )

    if name == "verdicts":
        return verdict_labels(tables, count_seed_consistent, similarity)
    if name == "decisions":
        if similarity != SimilarityOptions():
            raise UsageError("--labels decisions: reviewers state labels, not similarities")
        return decision_labels(tables)
    return read_labels(name, count_seed_consistent, similarity)


def _url(name: str) -> str:
    from scanner.testbed.files import TESTBEDS

    return str(TESTBEDS[name].calibration) if name in TESTBEDS else name
