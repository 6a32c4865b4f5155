"""Read labels from a file: our own format, and the public lists of memorized captions."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from scanner.calibration.labels.label_values import (
    BY_DEFAULT,
    NAME_THE_COLUMN,
    SimilarityOptions,
    Value,
    is_blank,
    is_label,
    parse_label,
)
from scanner.calibration.labels.labels import CLASS, Labels, Row, all_seed_consistent, parse_rows
from scanner.captions.formats import UnreadableFile, inspect, read
from scanner.captions.values import as_text, why_not_text
from scanner.errors import UserError

CAPTIONS = ("caption", "prompt", "text")
NAMES = ("caption_id", "caption", "key", "prompt", "text")
# The column overfit_type is that of Webster's lists, type that of NeMo's.
TYPE = "type"
PUBLISHED_CLASSES = ("overfit_type", TYPE)
STATED = ("memorized", "label")
LABELS = (*STATED, CLASS, *PUBLISHED_CLASSES)
GROUPS = ("family", "cluster")
SSCD = ("sscd", "max_sscd", "mean_sscd")
SIMILARITIES = ("similarity", *SSCD)
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
    """Read a csv, tsv, jsonl or parquet file with a column that identifies the caption (NAMES) and
    one that labels it (LABELS): true or false, yes or no, 1 or 0, or a class (CLASSES) or none.

    A column of classes beside memorized or label adds the class. Without any of them, a column of
    similarities in [0, 1] is the label; one of SSCD is also read beside labels. An optional column
    family or cluster groups captions. Rows with a blank label are skipped, and so are
    seed-consistent ones unless ``count_seed_consistent`` counts them as memorized. Raises UserError
    for any other value, naming the row.
    """
    found = {name.lower(): name for name in inspect(url).columns}
    by = _column(url, found, NAMES, "that identifies the caption")
    label = next((name for name in LABELS if name in found), None)
    has_similarity = not found.keys().isdisjoint(SIMILARITIES)
    if label == TYPE and has_similarity and not _is_of_labels(url, found):
        label = None
    strength = _similarity_column(url, found, label, similarity)
    threshold = similarity.threshold
    if label is None:
        threshold = DEFAULT_THRESHOLD if threshold is None else threshold
    elif threshold is not None:
        label = None
    kind = _class_column(found, label) if label else None
    group = next((found[name] for name in GROUPS if name in found), None)
    columns = _Columns(found[by], found[label] if label else None, kind, group, strength)
    labels = parse_rows(_identified_by(by), _rows(url, columns), count_seed_consistent, threshold)
    if labels.names:
        return labels
    if labels.seed_consistent:
        raise UserError(f"{url}: {all_seed_consistent(labels.seed_consistent)}")
    raise UserError(
        f"{url}: no row has a label; fill in the column {columns.label or columns.similarity}"
    )


def read_list(url: str, memorized: bool) -> Labels:
    """Read a file of captions that are all memorized, or none of them: a txt with one per line, or
    a column that identifies the caption (NAMES) in the formats of :func:`read_labels`.

    Reads the classes and the SSCD similarities that it has. Raises UserError for a file with labels
    of its own, and for a class that contradicts the list.
    """
    found = {name.lower(): name for name in inspect(url).columns}
    by = _column(url, found, NAMES, "that identifies the caption")
    if label := next((found[name] for name in STATED if name in found), None):
        raise UserError(f"{url} has labels, in the column {label}: read it by --labels")
    strength = next((found[name] for name in SSCD if name in found), None)
    group = next((found[name] for name in GROUPS if name in found), None)
    columns = _Columns(found[by], None, _class_column(found), group, strength)
    rows = (_of_list(row, memorized) for row in _rows(url, columns))
    labels = parse_rows(_identified_by(by), rows, True, None)
    if not labels.names:
        raise UserError(f"{url}: no captions in it")
    return labels


def _of_list(row: Row, memorized: bool) -> Row:
    """Label a row as its list does. Raises UserError if its class says otherwise."""
    if not is_blank(row.verdict.text) and parse_label(row.verdict, True) != memorized:
        kind = "memorized captions" if memorized else "captions that are not memorized"
        raise UserError(
            f"{row.verdict.where}: {row.verdict.text!r} in a list of {kind}; read a file of both "
            "by --labels"
        )
    label = Value("true" if memorized else "false", row.label.where)
    return replace(row, label=label)


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
                given = batch.columns[columns.name][position]
                if isinstance(given, str) and (why := why_not_text(given)):
                    raise UserError(f"{where}: {why}")
                yield Row(name, label, _known_class(columns, verdict), similarity, group)
    except UnreadableFile as error:
        raise UserError(f"{url}: cannot be read: {error}") from error


def _known_class(columns: _Columns, verdict: Value) -> Value:
    """Return what a column of classes states; a column called type can be about anything else."""
    is_type = columns.verdict is not None and columns.verdict.lower() == TYPE
    return replace(verdict, text=None) if is_type and not is_label(verdict) else verdict


def _is_of_labels(url: str, columns: dict[str, str]) -> bool:
    """Return whether the first cell of the column type that is not blank is a label."""
    for row in _rows(url, _Columns(columns[TYPE], None, None, None, None)):
        if not is_blank(row.name):
            return is_label(Value(row.name, url))
    return False


def _class_column(columns: dict[str, str], label: str | None = None) -> str | None:
    """Return the name of the column of classes beside the column ``label``."""
    names = (CLASS, *PUBLISHED_CLASSES)
    return None if label in names else next((columns[n] for n in names if n in columns), None)


def _identified_by(column: str) -> str:
    return "caption" if column in CAPTIONS else column


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
        if named := [columns[name] for name in SIMILARITIES if name in columns]:
            return named[0]
        accepted = (*LABELS, *SIMILARITIES)
        remedy = "; a file of captions of one kind is for --memorized or --not-memorized"
        return columns[_column(url, columns, accepted, "with the label", remedy)]
    # A column called similarity may compare an image with its caption, as LAION's does.
    strength = next((columns[name] for name in SSCD if name in columns), None)
    if options.threshold is not None and strength is None:
        raise UserError(f"{url} has labels, in the column {columns[label]}; {NAME_THE_COLUMN}")
    return strength


def _column(
    url: str, columns: dict[str, str], accepted: tuple[str, ...], purpose: str, remedy: str = ""
) -> str:
    for name in accepted:
        if name in columns:
            return name
    raise UserError(
        f"{url}: no column {purpose}: expected {' or '.join(accepted)}, found "
        f"{', '.join(columns.values()) or 'no columns'}{remedy}"
    )
