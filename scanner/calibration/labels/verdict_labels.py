"""Take labels from the verdicts of a run's verification."""

from scanner.calibration.labels.label_values import (
    BY_DEFAULT,
    NAME_THE_COLUMN,
    SimilarityOptions,
    Value,
)
from scanner.calibration.labels.labels import Labels, Row, all_seed_consistent, parse_rows
from scanner.errors import UserError
from scanner.query import RunTables, identifier
from scanner.run.verdicts import VERDICTS

SIMILARITIES = [name for name in VERDICTS.names if name.startswith("likeness")]


def verdict_labels(
    tables: RunTables,
    count_seed_consistent: bool = False,
    similarity: SimilarityOptions = BY_DEFAULT,
) -> Labels:
    """Turn a run's verdicts into labels: verbatim and template copies are memorized.

    Seed-consistent captions are skipped unless ``count_seed_consistent`` counts them as memorized.
    A similarity is one of the view's columns ``likeness…``. Raises UserError for any other, or if
    the run has no verdicts, or no label is left.
    """
    where, blank = "the view verdicts", Value(None, "")
    measure = "NULL"
    if similarity.column is not None:
        measure = identifier(_checked(similarity.column))
    elif similarity.threshold is not None:
        raise UserError(f"--labels verdicts: {NAME_THE_COLUMN}, such as likeness_embedding")
    verdicts = tables.query(
        f"SELECT caption_id, verdict, {measure} AS measure FROM verdicts ORDER BY caption_id"
    )
    if not len(verdicts):
        raise UserError("--labels verdicts: this run has no verdicts; run memscan verify first")
    rows = (
        Row(caption_id, Value(verdict, where), blank, Value(measured, where))
        for caption_id, verdict, measured in zip(
            verdicts["caption_id"].to_pylist(),
            verdicts["verdict"].to_pylist(),
            map(_text, verdicts["measure"].to_pylist()),
            strict=True,
        )
    )
    labels = parse_rows("caption_id", rows, count_seed_consistent, similarity.threshold)
    if labels.names:
        return labels
    if labels.seed_consistent:
        raise UserError(f"--labels verdicts: {all_seed_consistent(labels.seed_consistent)}")
    raise UserError(
        f"--labels verdicts: {similarity.column} is null in all verdicts, since verify did not "
        "measure it; name another measure"
    )


def _checked(column: str) -> str:
    """Return the column if it is a similarity to training images. Raises UserError otherwise."""
    if column not in SIMILARITIES:
        raise UserError(
            f"--similarity-column {column}: not a similarity to training images; the view verdicts "
            f"has {', '.join(SIMILARITIES)}"
        )
    return column


def _text(measured: float | None) -> str | None:
    """Return a measure as text; one that exceeds 1 by rounding is 1."""
    return None if measured is None else repr(min(measured, 1.0))
