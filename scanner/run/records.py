"""What a run's JSON files hold."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Slice:
    """A range of caption ids, both ends included, in one captions file: the unit of work."""

    id: str
    file: str
    first: str
    last: str
    rows: int


@dataclass(frozen=True)
class Plan:
    """What a scan will do: which files were read into which tables, and the slices.

    ``counts``: ``rows`` read = ``samples`` + ``rejects``; ``captions`` is how many distinct ones
    are planned (after ``--limit``). ``columns`` says what was chosen in each input file.
    """

    inputs: tuple[dict[str, Any], ...]
    samples: tuple[str, ...]
    captions: tuple[str, ...]
    rejects: tuple[str, ...]
    slices: tuple[Slice, ...]
    counts: dict[str, int]
    columns: dict[str, Any]

    @classmethod
    def joined(cls, plans: Sequence["Plan"]) -> "Plan":
        """Several generations as one plan."""
        if len(plans) == 1:
            return plans[0]
        names = {name for plan in plans for name in plan.counts}
        return cls(
            **{
                name: tuple(item for plan in plans for item in getattr(plan, name))
                for name in ("inputs", "samples", "captions", "rejects", "slices")
            },
            counts={name: sum(plan.counts.get(name, 0) for plan in plans) for name in names},
            columns={url: chosen for plan in plans for url, chosen in plan.columns.items()},
        )

    def to_json(self) -> bytes:
        """A plan's file holds one generation, in a list."""
        return encode({"generations": [asdict(self)]})

    @classmethod
    def from_json(cls, data: bytes) -> "Plan":
        record = json.loads(data)["generations"][0]
        record["slices"] = [Slice(**item) for item in record["slices"]]
        for name in ("inputs", "samples", "captions", "rejects", "slices"):
            record[name] = tuple(record[name])
        return cls(**record)


@dataclass(frozen=True)
class Part:
    """One Parquet file of a commit; ``kind`` is the folder and table it belongs to."""

    kind: str
    path: str
    rows: int
    sha256: str
    bytes: int = 0


@dataclass(frozen=True)
class Commit:
    """A slice's work, done: the parts that hold its result, and who did it.

    ``generation`` counts repairs from 0. ``seconds`` is how long the computing took; ``notes`` is
    what the work wants known.
    """

    slice: str
    generation: int
    attempt: str
    fingerprint: str
    parts: tuple[Part, ...]
    seconds: float
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return commit_name("commits", self.slice, self.generation)

    def rows(self, kind: str) -> int:
        return sum(part.rows for part in self.parts if part.kind == kind)

    def to_json(self) -> bytes:
        return encode(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> "Commit":
        record = json.loads(data)
        parts = tuple(Part(**item) for item in record.pop("parts"))
        return cls(**record, parts=parts)


def commit_name(folder: str, slice_id: str, generation: int) -> str:
    return f"{folder}/{slice_id}.{generation}.json"


def encode(record: Any) -> bytes:
    """JSON as every file of a run has it: indented, in UTF-8."""
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()
