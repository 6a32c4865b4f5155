"""Labels as people have them: a file, or the verdicts of a run's verification."""

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
    """What is known of captions, row by row.

    ``by`` says what ``names`` are: caption_id, caption or key. ``groups``: rows that share a value
    belong together, whatever their text; None where a row has none. ``unlabelled``: rows left out
    since nobody has labelled them; ``seed_consistent``: rows left out since their verdict is that.
    """

    by: str
    names: list[str]
    memorized: list[bool]
    groups: list[str | None]
    unlabelled: int = 0
    seed_consistent: int = 0

    @classmethod
    def of(cls, table: pa.Table) -> "Labels":
        """Of a table with caption, memorized (bool) and, if it has one, family."""
        groups: list[str | None] = [None] * len(table)
        if "family" in table.column_names:
            groups = [None if g is None else str(g) for g in table["family"].to_pylist()]
        return cls("caption", table["caption"].to_pylist(), table["memorized"].to_pylist(), groups)


def read_labels(url: str, count_seed_consistent: bool = False) -> Labels:
    """A csv, tsv, jsonl or parquet file with caption_id, caption or key, and memorized, label or
    verdict: true or false, yes or no, 1 or 0, verbatim, template or none.

    A column family or cluster, if there is one, tells which captions belong together; a row whose
    label is blank is left out, and one that is seed-consistent, unless ``count_seed_consistent``
    takes it for memorized. Raises UserError for anything else, naming the row.
    """
    columns = {name.lower(): name for name in inspect(url).columns}
    by = _column(url, columns, NAMES, "says which caption a row is about")
    label = _column(url, columns, LABELS, "says whether it is memorized")
    group = next((columns[name] for name in GROUPS if name in columns), None)
    rows: list[tuple[str, bool, str | None]] = []
    unlabelled, seed_consistent = 0, 0
    try:
        for batch in read(url, [columns[by], columns[label], *([group] if group else [])]):
            if batch.bad:
                row, reason = batch.bad[0]
                raise UserError(f"{url}, row {row} (the first is 0): {reason}")
            found = {name: as_text(values).to_pylist() for name, values in batch.columns.items()}
            together = found[group] if group else [None] * len(batch.rows)
            for row, name, value, one in zip(
                batch.rows, found[columns[by]], found[columns[label]], together, strict=True
            ):
                if _is_blank(value):
                    unlabelled += 1
                    continue
                where = f"{url}, row {row} (the first is 0), {columns[label]}"
                meaning = _meaning(value, where, count_seed_consistent)
                if meaning is None:
                    seed_consistent += 1
                    continue
                rows.append((name or "", meaning, None if _is_blank(one) else one))
    except UnreadableFile as error:
        raise UserError(f"{url}: cannot be read: {error}") from error
    if not rows:
        if seed_consistent:
            raise UserError(f"{url}: {_all_seed_consistent(seed_consistent)}")
        raise UserError(f"{url}: no row is labelled; fill the column {columns[label]}")
    names, memorized, groups = map(list, zip(*rows, strict=True))
    return Labels(by, names, memorized, groups, unlabelled, seed_consistent)


def labels_of_verdicts(tables: RunTables, count_seed_consistent: bool = False) -> Labels:
    """What verification found: verbatim and template copies are memorized.

    Seed-consistent captions are left out, unless ``count_seed_consistent`` takes them for
    memorized. Raises UserError where nothing has been verified, or nothing is left.
    """
    found = tables.query("SELECT caption_id, verdict FROM verdicts ORDER BY caption_id")
    if not len(found):
        raise UserError("--labels verdicts: this run has no verdicts; memscan verify makes them")
    pairs = zip(found["caption_id"].to_pylist(), found["verdict"].to_pylist(), strict=True)
    meanings = {
        name: _meaning(verdict, "the view verdicts", count_seed_consistent)
        for name, verdict in pairs
    }
    known = {name: meaning for name, meaning in meanings.items() if meaning is not None}
    left_out = len(meanings) - len(known)
    if not known:
        raise UserError(f"--labels verdicts: {_all_seed_consistent(left_out)}")
    return Labels(
        "caption_id",
        list(known),
        list(known.values()),
        [None] * len(known),
        seed_consistent=left_out,
    )


def _all_seed_consistent(rows: int) -> str:
    return (
        f"all verdicts ({rows:,}) are {SEED_CONSISTENT}, which says neither copy nor none: no "
        "training image was compared that the pictures are like; memscan verify --images says "
        "where the training images are, --count-seed-consistent takes these captions for memorized"
    )


def _column(url: str, columns: dict[str, str], wanted: tuple[str, ...], what: str) -> str:
    for name in wanted:
        if name in columns:
            return name
    raise UserError(
        f"{url}: no column {what}: {', '.join(wanted)} would; it has {', '.join(columns.values())}"
    )


def _is_blank(value: str | None) -> bool:
    return value is None or not value.strip()


def _meaning(value: str, where: str, count_seed_consistent: bool) -> bool | None:
    """Whether a label says memorized; None for a verdict that says neither."""
    text = value.strip().lower()
    if text == SEED_CONSISTENT:
        return True if count_seed_consistent else None
    if text not in MEANINGS:
        raise UserError(f"{where}: {value!r} is no label; write one of {', '.join(MEANINGS)}")
    return MEANINGS[text]
