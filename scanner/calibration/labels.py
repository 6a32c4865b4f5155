"""Read labels from a file, or from the verdicts of a run's verification."""

from dataclasses import dataclass

import pyarrow as pa

from scanner.captions.formats import UnreadableFile, inspect, read
from scanner.captions.values import as_text
from scanner.errors import UserError
from scanner.query import RunTables
from scanner.run.verdicts import SEED_CONSISTENT

NAMES = ("caption_id", "caption", "key")
LABELS = ("memorized", "label", "verdict")
GROUPS = ("family", "cluster")
MEANINGS = {
    "true": True,
    "1": True,
    "1.0": True,
    "yes": True,
    "verbatim": True,
    "template": True,
    "false": False,
    "0": False,
    "0.0": False,
    "no": False,
    "none": False,
}


@dataclass(frozen=True)
class Labels:
    """Whether captions are memorized, one entry per label.

    ``by``: what ``names`` identify captions by: caption_id, caption or key. ``groups``: labels with
    equal values share a cluster whatever their text; None for no group. ``unlabelled``: number of
    rows skipped because their label is blank; ``seed_consistent``: rows skipped for that verdict.
    """

    by: str
    names: list[str]
    memorized: list[bool]
    groups: list[str | None]
    unlabelled: int = 0
    seed_consistent: int = 0

    @classmethod
    def from_table(cls, table: pa.Table) -> "Labels":
        """Take labels from a table with caption, memorized (bool) and optionally family."""
        groups: list[str | None] = [None] * len(table)
        if "family" in table.column_names:
            groups = [None if g is None else str(g) for g in table["family"].to_pylist()]
        return cls("caption", table["caption"].to_pylist(), table["memorized"].to_pylist(), groups)


def read_labels(url: str, count_seed_consistent: bool = False) -> Labels:
    """Read a csv, tsv, jsonl or parquet file with a column caption_id, caption or key, and a column
    memorized, label or verdict: true or false, yes or no, 1 or 0, verbatim, template or none.

    An optional column family or cluster groups captions. Rows with a blank label are skipped, and
    so are seed-consistent ones unless ``count_seed_consistent`` counts them as memorized. Raises
    UserError for any other value, naming the row.
    """
    columns = {name.lower(): name for name in inspect(url).columns}
    by = _column(url, columns, NAMES, "that identifies the caption")
    label = _column(url, columns, LABELS, "with the label")
    group = next((columns[name] for name in GROUPS if name in columns), None)
    rows: list[tuple[str, bool, str | None]] = []
    unlabelled, seed_consistent = 0, 0
    try:
        for batch in read(url, [columns[by], columns[label], *([group] if group else [])]):
            if batch.bad:
                row, reason = batch.bad[0]
                raise UserError(f"{url}, row {row} (counting from 0): {reason}")
            text = {name: as_text(values).to_pylist() for name, values in batch.columns.items()}
            row_groups = text[group] if group else [None] * len(batch.rows)
            for row, name, value, row_group in zip(
                batch.rows, text[columns[by]], text[columns[label]], row_groups, strict=True
            ):
                if _is_blank(value):
                    unlabelled += 1
                    continue
                where = f"{url}, row {row} (counting from 0), {columns[label]}"
                memorized = _parse(value, where, count_seed_consistent)
                if memorized is None:
                    seed_consistent += 1
                    continue
                rows.append((name or "", memorized, None if _is_blank(row_group) else row_group))
    except UnreadableFile as error:
        raise UserError(f"{url}: cannot be read: {error}") from error
    if not rows:
        if seed_consistent:
            raise UserError(f"{url}: {_all_seed_consistent(seed_consistent)}")
        raise UserError(f"{url}: no row has a label; fill in the column {columns[label]}")
    names, labels, groups = map(list, zip(*rows, strict=True))
    return Labels(by, names, labels, groups, unlabelled, seed_consistent)


def verdict_labels(tables: RunTables, count_seed_consistent: bool = False) -> Labels:
    """Turn a run's verdicts into labels: verbatim and template copies are memorized.

    Seed-consistent captions are skipped unless ``count_seed_consistent`` counts them as memorized.
    Raises UserError if the run has no verdicts, or none is left.
    """
    verdicts = tables.query("SELECT caption_id, verdict FROM verdicts ORDER BY caption_id")
    if not len(verdicts):
        raise UserError("--labels verdicts: this run has no verdicts; run memscan verify first")
    pairs = zip(verdicts["caption_id"].to_pylist(), verdicts["verdict"].to_pylist(), strict=True)
    parsed = {
        caption_id: _parse(verdict, "the view verdicts", count_seed_consistent)
        for caption_id, verdict in pairs
    }
    known = {name: memorized for name, memorized in parsed.items() if memorized is not None}
    skipped = len(parsed) - len(known)
    if not known:
        raise UserError(f"--labels verdicts: {_all_seed_consistent(skipped)}")
    return Labels(
        "caption_id",
        list(known),
        list(known.values()),
        [None] * len(known),
        seed_consistent=skipped,
    )


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


def _is_blank(value: str | None) -> bool:
    return value is None or not value.strip()


def _parse(value: str, where: str, count_seed_consistent: bool) -> bool | None:
    """Return whether a label means memorized; None for a seed-consistent verdict to skip."""
    text = value.strip().lower()
    if text == SEED_CONSISTENT:
        return True if count_seed_consistent else None
    if text not in MEANINGS:
        raise UserError(f"{where}: {value!r} is not a label; use one of {', '.join(MEANINGS)}")
    return MEANINGS[text]
