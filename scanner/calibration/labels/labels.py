"""Labels of captions: whether they are memorized, as which class, and how similar to a copy."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from scanner.calibration.labels.label_values import (
    Value,
    class_of,
    is_blank,
    parse_label,
    parse_similarity,
    parse_verdict,
)
from scanner.errors import UserError
from scanner.run.verdicts import SEED_CONSISTENT

CLASS = "verdict"  # beside a column memorized or label, adds the class


@dataclass(frozen=True)
class Labels:
    """Whether captions are memorized, one entry per label.

    ``by``: what ``names`` identify captions by: caption_id, caption or key. ``groups``: labels with
    equal values share a cluster whatever their text; None for no group. ``unlabeled``: number of
    rows skipped because their label is blank; ``seed_consistent``: rows skipped for that verdict.
    ``classes``: verbatim or template, None if not memorized or not stated; empty if none is stated.
    ``similarities``: to the nearest copy, in [0, 1], None if unknown; empty if all are.
    ``threshold``: the least similarity that means memorized, None if labels say what does.
    ``weights``: how many captions each labeled one represents; empty if each only itself.
    """

    by: str
    names: list[str]
    memorized: list[bool]
    groups: list[str | None]
    unlabeled: int = 0
    seed_consistent: int = 0
    classes: list[str | None] = field(default_factory=list)
    similarities: list[float | None] = field(default_factory=list)
    threshold: float | None = None
    weights: list[float] = field(default_factory=list)

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


def join_labels(parts: Sequence[Labels]) -> Labels:
    """Return the labels of several files as one.

    Raises UserError if they identify captions by different columns, or define memorized by a
    threshold of similarity, which labels of other files contradict.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    by = list(dict.fromkeys(one.by for one in parts))
    if len(by) > 1:
        raise UserError(
            f"the files of labels identify captions by {' and '.join(by)}; give all of them one of "
            "these columns"
        )
    if any(one.threshold is not None for one in parts):
        raise UserError(
            "similarities of --labels cannot be combined with --memorized or --not-memorized; "
            "leave out --similarity-threshold, or label the captions in one file"
        )

    def joined(name: str) -> list[Any]:
        lists = [getattr(one, name) or [None] * len(one.names) for one in parts]
        return list(itertools.chain(*lists)) if any(getattr(one, name) for one in parts) else []

    return Labels(
        first.by,
        joined("names"),
        joined("memorized"),
        joined("groups"),
        sum(one.unlabeled for one in parts),
        sum(one.seed_consistent for one in parts),
        joined("classes"),
        joined("similarities"),
    )


@dataclass(frozen=True)
class Row:
    """One row of labels as text."""

    name: str
    label: Value
    verdict: Value
    similarity: Value
    group: str | None = None


@dataclass(frozen=True)
class _Label:
    name: str
    memorized: bool
    group: str | None
    kind: str | None
    similarity: float | None


def parse_rows(
    by: str, rows: Iterable[Row], count_seed_consistent: bool, threshold: float | None
) -> Labels:
    """Return the labels of the rows; empty if all of them are skipped.

    ``threshold``: the least similarity that means memorized; None if labels say what does.
    """
    parsed: list[_Label] = []
    unlabeled, seed_consistent = 0, 0
    for row in rows:
        similarity = parse_similarity(row.similarity)
        memorized: bool | None
        if is_blank(row.label.text) if threshold is None else similarity is None:
            unlabeled += 1
            continue
        if threshold is None:
            memorized = parse_label(row.label, count_seed_consistent)
            kind = class_of(row.label.text) or parse_verdict(row.verdict)
        else:
            memorized, kind = similarity is not None and similarity >= threshold, None
        if memorized is None:
            seed_consistent += 1
            continue
        group = None if is_blank(row.group) else row.group
        parsed.append(_Label(row.name, memorized, group, kind if memorized else None, similarity))
    return Labels(
        by,
        [one.name for one in parsed],
        [one.memorized for one in parsed],
        [one.group for one in parsed],
        unlabeled,
        seed_consistent,
        [one.kind for one in parsed] if any(one.kind for one in parsed) else [],
        [one.similarity for one in parsed]
        if any(one.similarity is not None for one in parsed)
        else [],
        threshold,
    )


def all_seed_consistent(rows: int) -> str:
    return (
        f"all verdicts ({rows:,}) are {SEED_CONSISTENT}, which neither confirms nor rules out a "
        "copy, since no matching training image was compared; give the training images with "
        "memscan verify --images, or count these captions as memorized with "
        "--count-seed-consistent"
    )
