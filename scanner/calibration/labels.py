"""Read labels from a file, or from the verdicts of a run's verification."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter

import pyarrow as pa

from scanner.calibration.label_values import (
    Value,
    class_of,
    is_blank,
    parse_label,
    parse_verdict,
)
from scanner.captions.formats import UnreadableFile, inspect, read
from scanner.captions.values import as_text
from scanner.errors import UserError
from scanner.query import RunTables
from scanner.run.verdicts import SEED_CONSISTENT

NAMES = ("caption_id", "caption", "key")
LABELS = ("memorized", "label", "verdict")
CLASS = "verdict"  # beside a column memorized or label, adds the class
GROUPS = ("family", "cluster")


@dataclass(frozen=True)
class Labels:
    """Whether captions are memorized, one entry per label.

    ``by``: what ``names`` identify captions by: caption_id, caption or key. ``groups``: labels with
    equal values share a cluster whatever their text; None for no group. ``unlabelled``: number of
    rows skipped because their label is blank; ``seed_consistent``: rows skipped for that verdict.
    ``classes``: verbatim or template, None if not memorized or not stated; empty if none is stated.
    """

    by: str
    names: list[str]
    memorized: list[bool]
    groups: list[str | None]
    unlabelled: int = 0
    seed_consistent: int = 0
    classes: list[str | None] = field(default_factory=list)

    @classmethod
    def from_table(cls, table: pa.Table) -> "Labels":
        """Take labels from a table with caption, memorized (bool) and optionally family and
        verdict."""
        groups: list[str | None] = [None] * len(table)
        classes: list[str | None] = []
        if "family" in table.column_names:
            groups = [None if g is None else str(g) for g in table["family"].to_pylist()]
        captions, memorized = table["caption"].to_pylist(), table["memorized"].to_pylist()
        if CLASS in table.column_names:
            verdicts = zip(memorized, table[CLASS].to_pylist(), strict=True)
            classes = [class_of(verdict) if positive else None for positive, verdict in verdicts]
        return cls("caption", captions, memorized, groups, classes=classes)


@dataclass(frozen=True)
class _Row:
    """One row of labels as text. ``label`` and ``verdict`` name their location in errors."""

    name: str
    label: Value
    verdict: Value
    group: str | None = None


@dataclass(frozen=True)
class _Label:
    name: str
    memorized: bool
    group: str | None
    kind: str | None


def read_labels(url: str, count_seed_consistent: bool = False) -> Labels:
    """Read a csv, tsv, jsonl or parquet file with a column caption_id, caption or key, and a column
    memorized, label or verdict: true or false, yes or no, 1 or 0, verbatim, template or none.

    A column verdict beside memorized or label adds the class. An optional column family or cluster
    groups captions. Rows with a blank label are skipped, and so are seed-consistent ones unless
    ``count_seed_consistent`` counts them as memorized. Raises UserError for any other value, naming
    the row.
    """
    columns = {name.lower(): name for name in inspect(url).columns}
    by = _column(url, columns, NAMES, "that identifies the caption")
    label = _column(url, columns, LABELS, "with the label")
    group = next((columns[name] for name in GROUPS if name in columns), None)
    verdict = columns.get(CLASS) if label != CLASS else None
    rows = _rows(url, columns[by], columns[label], verdict, group)
    labels = _parse(by, rows, count_seed_consistent)
    if labels.names:
        return labels
    if labels.seed_consistent:
        raise UserError(f"{url}: {_all_seed_consistent(labels.seed_consistent)}")
    raise UserError(f"{url}: no row has a label; fill in the column {columns[label]}")


def verdict_labels(tables: RunTables, count_seed_consistent: bool = False) -> Labels:
    """Turn a run's verdicts into labels: verbatim and template copies are memorized.

    Seed-consistent captions are skipped unless ``count_seed_consistent`` counts them as memorized.
    Raises UserError if the run has no verdicts, or none is left.
    """
    verdicts = tables.query("SELECT caption_id, verdict FROM verdicts ORDER BY caption_id")
    if not len(verdicts):
        raise UserError("--labels verdicts: this run has no verdicts; run memscan verify first")
    where, none = "the view verdicts", Value(None, "")
    pairs = zip(verdicts["caption_id"].to_pylist(), verdicts["verdict"].to_pylist(), strict=True)
    rows = (_Row(caption_id, Value(verdict, where), none) for caption_id, verdict in pairs)
    labels = _parse("caption_id", rows, count_seed_consistent)
    if not labels.names:
        raise UserError(f"--labels verdicts: {_all_seed_consistent(labels.seed_consistent)}")
    return labels


def _parse(by: str, rows: Iterable[_Row], count_seed_consistent: bool) -> Labels:
    """Return the labels of the rows; empty if all of them are skipped."""
    parsed: list[_Label] = []
    unlabelled, seed_consistent = 0, 0
    for row in rows:
        if is_blank(row.label.text):
            unlabelled += 1
            continue
        memorized = parse_label(row.label, count_seed_consistent)
        if memorized is None:
            seed_consistent += 1
            continue
        kind = class_of(row.label.text) or parse_verdict(row.verdict)
        group = None if is_blank(row.group) else row.group
        parsed.append(_Label(row.name, memorized, group, kind if memorized else None))
    names, labels, groups, classes = (
        list(map(attrgetter(name), parsed)) for name in ("name", "memorized", "group", "kind")
    )
    classes = classes if any(classes) else []
    return Labels(by, names, labels, groups, unlabelled, seed_consistent, classes)


def _rows(url: str, by: str, label: str, verdict: str | None, group: str | None) -> Iterator[_Row]:
    """Yield the rows of a file, of which ``verdict`` and ``group`` are optional columns."""
    try:
        for batch in read(url, [by, label, *filter(None, (verdict, group))]):
            if batch.bad:
                row, reason = batch.bad[0]
                raise UserError(f"{url}, row {row} (counting from 0): {reason}")
            text = {name: as_text(values).to_pylist() for name, values in batch.columns.items()}
            blank: list[str | None] = [None] * len(batch.rows)
            for row, name, of_label, of_verdict, of_group in zip(
                batch.rows,
                text[by],
                text[label],
                text[verdict] if verdict else blank,
                text[group] if group else blank,
                strict=True,
            ):
                where = f"{url}, row {row} (counting from 0)"
                yield _Row(
                    name or "",
                    Value(of_label, f"{where}, {label}"),
                    Value(of_verdict, f"{where}, {verdict}"),
                    of_group,
                )
    except UnreadableFile as error:
        raise UserError(f"{url}: cannot be read: {error}") from error


def _all_seed_consistent(rows: int) -> str:
    return (
        f"all verdicts ({rows:,}) are {SEED_CONSISTENT}, which neither confirms nor rules out a "
        "copy, since no matching training image was compared; give the training images with "
        "memscan verify --images, or count these captions as memorized with "
        "--count-seed-consistent"
    )


def _column(url: str, columns: dict[str, str], accepted: tuple[str, ...], purpose: str) -> str:
    for name in accepted:
        if name in columns:
            return name
    raise UserError(
        f"{url}: no column {purpose}: expected {' or '.join(accepted)}, found "
        f"{', '.join(columns.values())}"
    )
