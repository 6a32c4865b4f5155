"""Read labels from a file."""

from collections.abc import Iterator
from dataclasses import dataclass

from scanner.calibration.label_values import BY_DEFAULT, NAME_THE_COLUMN, SimilarityOptions, Value
from scanner.calibration.labels import CLASS, Labels, Row, all_seed_consistent, parse_rows
from scanner.captions.formats import UnreadableFile, inspect, read
from scanner.captions.values import as_text
from scanner.errors import UserError

NAMES = ("caption_id", "caption", "key")
LABELS = ("memorized", "label", CLASS)
GROUPS = ("family", "cluster")
SIMILARITIES = ("similarity", "sscd", "max_sscd")
DEFAULT_THRESHOLD = 0.7


@dataclass(frozen=True)
class _Columns:
    """Names of a file's columns, as spelled there; all but ``name`` are optional."""

    name: str
    label: str | None
    verdict: str | None
    group: str | None
    similarity: str | None


def read_labels(
    url: str,
    count_seed_consistent: bool = False,
    similarity: SimilarityOptions = BY_DEFAULT,
) -> Labels:
    """Read a csv, tsv, jsonl or parquet file with a column caption_id, caption or key, and a column
    memorized, label or verdict: true or false, yes or no, 1 or 0, verbatim, template or none.

    A column verdict beside memorized or label adds the class. Without any of them, a column
    similarity, sscd or max_sscd in [0, 1] is the label. An optional column family or cluster groups
    captions. Rows with a blank label are skipped, and so are seed-consistent ones unless
    ``count_seed_consistent`` counts them as memorized. Raises UserError for any other value, naming
    the row.
    """
    found = {name.lower(): name for name in inspect(url).columns}
    by = _column(url, found, NAMES, "that identifies the caption")
    label = next((name for name in LABELS if name in found), None)
    strength = _similarity_column(url, found, label, similarity)
    threshold = similarity.threshold
    if label is None:
        threshold = DEFAULT_THRESHOLD if threshold is None else threshold
    elif threshold is not None:
        label = None
    columns = _Columns(
        found[by],
        found[label] if label else None,
        found.get(CLASS) if label not in (None, CLASS) else None,
        next((found[name] for name in GROUPS if name in found), None),
        strength,
    )
    labels = parse_rows(by, _rows(url, columns), count_seed_consistent, threshold)
    if labels.names:
        return labels
    if labels.seed_consistent:
        raise UserError(f"{url}: {all_seed_consistent(labels.seed_consistent)}")
    raise UserError(
        f"{url}: no row has a label; fill in the column {columns.label or columns.similarity}"
    )


def _rows(url: str, columns: _Columns) -> Iterator[Row]:
    names = list(dict.fromkeys(filter(None, vars(columns).values())))
    try:
        for batch in read(url, names):
            if batch.bad:
                row, reason = batch.bad[0]
                raise UserError(f"{url}, row {row} (counting from 0): {reason}")
            text = {name: as_text(values).to_pylist() for name, values in batch.columns.items()}
            for position, row in enumerate(batch.rows):
                where = f"{url}, row {row} (counting from 0)"
                label, verdict, similarity = (
                    Value(text[name][position], f"{where}, {name}") if name else Value(None, where)
                    for name in (columns.label, columns.verdict, columns.similarity)
                )
                group = text[columns.group][position] if columns.group else None
                name = text[columns.name][position] or ""
                yield Row(name, label, verdict, similarity, group)
    except UnreadableFile as error:
        raise UserError(f"{url}: cannot be read: {error}") from error


def _similarity_column(
    url: str, columns: dict[str, str], label: str | None, options: SimilarityOptions
) -> str | None:
    """Return the name of the column of similarities, None if labels are used without one."""
    if options.column is not None:
        if options.column.lower() not in columns:
            raise UserError(
                f"--similarity-column {options.column}: {url} has the columns "
                f"{', '.join(columns.values())}"
            )
        return columns[options.column.lower()]
    if label is None:
        accepted = (*LABELS, *SIMILARITIES)
        return columns[_column(url, columns, accepted, "with the label")]
    if options.threshold is not None:
        raise UserError(f"{url} has labels, in the column {columns[label]}; {NAME_THE_COLUMN}")
    return None


def _column(url: str, columns: dict[str, str], accepted: tuple[str, ...], purpose: str) -> str:
    for name in accepted:
        if name in columns:
            return name
    raise UserError(
        f"{url}: no column {purpose}: expected {' or '.join(accepted)}, found "
        f"{', '.join(columns.values())}"
    )
