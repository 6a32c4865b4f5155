"""Take labels from the verdicts of a run's verification."""

import pyarrow as pa

from scanner.calibration.label_values import BY_DEFAULT, NAME_THE_COLUMN, SimilarityOptions, Value
from scanner.calibration.labels import Labels, Row, all_seed_consistent, parse_rows
from scanner.errors import UserError
from scanner.query import RunTables


def verdict_labels(
    tables: RunTables,
    count_seed_consistent: bool = False,
    similarity: SimilarityOptions = BY_DEFAULT,
) -> Labels:
    """Turn a run's verdicts into labels: verbatim and template copies are memorized.

    Seed-consistent captions are skipped unless ``count_seed_consistent`` counts them as memorized.
    A similarity is a measured column of the view. Raises UserError if the run has no verdicts or no
    such column, or no label is left.
    """
    verdicts = tables.query("SELECT * FROM verdicts ORDER BY caption_id")
    if not len(verdicts):
        raise UserError("--labels verdicts: this run has no verdicts; run memscan verify first")
    where, blank = "the view verdicts", Value(None, "")
    strengths = [blank] * len(verdicts)
    if similarity.column is not None:
        values = _measured(verdicts, similarity.column)
        strengths = [Value(value, f"{where}, {similarity.column}") for value in values]
    elif similarity.threshold is not None:
        raise UserError(f"--labels verdicts: {NAME_THE_COLUMN}, such as likeness_embedding")
    rows = (
        Row(caption_id, Value(verdict, where), blank, strength)
        for caption_id, verdict, strength in zip(
            verdicts["caption_id"].to_pylist(),
            verdicts["verdict"].to_pylist(),
            strengths,
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


def _measured(verdicts: pa.Table, column: str) -> list[str | None]:
    """Return a measured column of the verdicts as text; rounding may exceed a similarity of 1."""
    measured = [field.name for field in verdicts.schema if pa.types.is_floating(field.type)]
    if column not in measured:
        raise UserError(
            f"--similarity-column {column}: not a measure of the view verdicts, which has "
            f"{', '.join(measured)}"
        )
    return [
        None if value is None else repr(min(value, 1.0)) for value in verdicts[column].to_pylist()
    ]
