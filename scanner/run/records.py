"""What a run's JSON files hold."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from scanner.errors import UserError
from scanner.storage import Skipped, Store

Record = TypeVar("Record")
# What to do about a damaged file, where nothing else is said: most are a scan's.
AGAIN = "remove it and run the same memscan scan again: it is worked out again"


class DamagedFile(UserError):
    """A JSON file of a run cannot be read, or holds something else than it should."""


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
    are planned (after ``--limit``). ``columns`` says what was chosen in each input file,
    ``skipped`` which files were not read, by reason (:class:`~scanner.storage.Skipped`).
    """

    inputs: tuple[dict[str, Any], ...]
    samples: tuple[str, ...]
    captions: tuple[str, ...]
    rejects: tuple[str, ...]
    slices: tuple[Slice, ...]
    counts: dict[str, int]
    columns: dict[str, Any]
    skipped: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def joined(cls, plans: Sequence["Plan"]) -> "Plan":
        """Several generations as one plan."""
        if len(plans) == 1:
            return plans[0]
        names = {name for plan in plans for name in plan.counts}
        skipped = Skipped()
        for plan in plans:
            skipped.update(Skipped.of(plan.skipped))
        return cls(
            **{
                name: tuple(item for plan in plans for item in getattr(plan, name))
                for name in ("inputs", "samples", "captions", "rejects", "slices")
            },
            counts={name: sum(plan.counts.get(name, 0) for plan in plans) for name in names},
            columns={url: chosen for plan in plans for url, chosen in plan.columns.items()},
            skipped=skipped.to_json(),
        )

    def to_json(self) -> bytes:
        """A plan's file holds one generation, in a list."""
        return encode({"generations": [asdict(self)]})

    @classmethod
    def from_json(cls, name: str, data: bytes) -> "Plan":
        def make(found: Any) -> Plan:
            record = found["generations"][0]
            record["slices"] = [Slice(**item) for item in record["slices"]]
            for kind in ("inputs", "samples", "captions", "rejects", "slices"):
                record[kind] = tuple(record[kind])
            return cls(**record)

        return decode(name, data, make)


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
    def from_json(cls, name: str, data: bytes, mend: str = AGAIN) -> "Commit":
        def make(record: Any) -> Commit:
            parts = tuple(Part(**item) for item in record.pop("parts"))
            return cls(**record, parts=parts)

        return decode(name, data, make, mend)


def commit_name(folder: str, slice_id: str, generation: int) -> str:
    return f"{folder}/{slice_id}.{generation}.json"


def encode(record: Any) -> bytes:
    """JSON as every file of a run has it: indented, in UTF-8."""
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def decode(name: str, data: bytes, make: Callable[[Any], Record], mend: str = AGAIN) -> Record:
    """What a JSON file holds, as ``make`` builds it; ``name``: its full path or URL.

    Raises DamagedFile where the file is cut off or changed, with what mends it.
    """
    try:
        return make(json.loads(data))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DamagedFile(f"{name} is damaged ({type(error).__name__}: {error}); {mend}") from error


def read_json(store: Store, name: str, *keys: str, mend: str = AGAIN) -> dict[str, Any]:
    """The object in a JSON file, which has these keys. Raises DamagedFile."""

    def make(record: Any) -> dict[str, Any]:
        missing = [key for key in keys if key not in dict(record)]
        if missing:
            raise KeyError(*missing)
        return dict(record)

    return decode(store.location(name), store.read(name), make, mend)
