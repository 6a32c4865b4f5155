"""Decisions of people about captions: what a reviewer states, and how it is stored.

Reviewers state a ``label`` (is it memorized?), a ``decision`` (what should happen to its samples?)
and a ``note`` for one or more captions. What they state replaces what they stated before; an undo
is another change, back to the earlier statement.
"""

import json
import time
import uuid
from collections.abc import Container
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Literal

import pyarrow as pa
import pydantic

from scanner.run.records import decode
from scanner.run.schema import CAPTION_ID, column

LABELS = ("verbatim", "template", "none", "unsure")
CHOICES = ("keep", "cap", "drop")
REMEDY = "restore the file from a copy, or remove it, which removes the decisions in it"
# Far above a decision on MOST_CAPTIONS captions.
LARGEST_ENTRY = 64 << 20
MOST_CAPTIONS = 100_000
LONGEST_NOTE = 2000
LONGEST_NAME = 100
# Stands for the reviewer of an entry of which nothing is left.
PURGED = "(purged)"

Label = Literal["verbatim", "template", "none", "unsure"]
Choice = Literal["keep", "cap", "drop"]
Name = Annotated[str, pydantic.StringConstraints(min_length=1, max_length=LONGEST_NAME)]
Note = Annotated[str, pydantic.StringConstraints(max_length=LONGEST_NOTE)]
CaptionId = Annotated[str, pydantic.StringConstraints(min_length=1, max_length=100)]
Probability = Annotated[float, pydantic.Field(gt=0, le=1)]

DECISIONS = pa.schema(
    [
        CAPTION_ID,
        column("reviewer", pa.string(), "who decided, as the reviewer gave the name"),
        column("label", pa.string(), f"{', '.join(LABELS)}, or null if not stated"),
        column("decision", pa.string(), f"{', '.join(CHOICES)}, or null if not stated"),
        column("note", pa.string(), "free text of the reviewer"),
        column("queue", pa.string(), "the order in which the caption was shown"),
        column(
            "sampling_probability",
            pa.float64(),
            "probability with which the caption was drawn; null if it was not drawn at random",
        ),
        column("decided_at", pa.float64(), "when it was decided", "seconds since 1970"),
        column("entry", pa.int64(), "number of the log's entry, from 1"),
        column("undoes", pa.int64(), "the entry that this one takes back, else null"),
    ]
)


@dataclass(frozen=True)
class Statement:
    """What a reviewer states about a caption; all empty: nothing."""

    label: Label | None = None
    decision: Choice | None = None
    note: Note = ""

    def __bool__(self) -> bool:
        return self != Statement()


@dataclass(frozen=True)
class Change:
    """A statement about captions; ``captions``: by id, the probability with which each was drawn,
    or None."""

    statement: Statement
    captions: Annotated[
        dict[CaptionId, Probability | None], pydantic.Field(max_length=MOST_CAPTIONS)
    ]


@dataclass(frozen=True)
class Entry:
    """What one reviewer changes at once. ``queue``: the order in which the captions were shown;
    ``undoes``: number of the entry that this one takes back."""

    reviewer: Name
    changes: tuple[Change, ...]
    queue: Name = "ranking"
    undoes: int | None = None
    decided_at: float = field(default_factory=time.time)
    # Entries differ, so a writer cannot mistake another's for its own.
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, name: str, data: bytes) -> "Entry":
        """Raises DamagedFile."""
        return decode(name, data, cls, REMEDY, LARGEST_ENTRY)

    def without(self, captions: Container[str]) -> "Entry":
        """Return the entry without what it states about some captions.

        An entry that states nothing else is left empty, without its reviewer: its number stays in
        use.
        """
        kept = [
            replace(
                change,
                captions={name: p for name, p in change.captions.items() if name not in captions},
            )
            for change in self.changes
        ]
        changes = tuple(change for change in kept if change.captions)
        if self.changes and not changes:
            return Entry(PURGED, (), decided_at=0.0, id=self.id)
        return replace(self, changes=changes)

    def table(self, number: int) -> pa.Table:
        """Return one row per caption; ``number``: of the entry."""
        shared = {
            "reviewer": self.reviewer,
            "queue": self.queue,
            "decided_at": self.decided_at,
            "entry": number,
            "undoes": self.undoes,
        }
        rows = [
            {
                "caption_id": caption_id,
                "sampling_probability": probability,
                **asdict(change.statement),
                **shared,
            }
            for change in self.changes
            for caption_id, probability in change.captions.items()
        ]
        return pa.Table.from_pylist(rows, DECISIONS)
