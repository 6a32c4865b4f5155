"""What a run's JSON files hold."""

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, TypeVar, cast

import pydantic

from scanner.errors import UserError
from scanner.run.json_files import (
    ColumnsRecord,
    Count,
    FileName,
    Id,
    InputRecord,
    NotesRecord,
    PlanCounts,
    SkippedRecord,
    checked_as,
)
from scanner.storage import Skipped, Store

Record = TypeVar("Record")
# Of one JSON file, far above that of any plan.
LARGEST_BYTES = 1 << 30
# What to do about a damaged file, where nothing else is said: most are a scan's.
AGAIN = "remove it and run the same memscan scan again: it is worked out again"


class DamagedFile(UserError):
    """A JSON file of a run cannot be read, or holds something else than it should.

    ``why``: what is wrong with it, without its name and the remedy.
    """

    def __init__(self, name: str, why: str, mend: str) -> None:
        super().__init__(f"{name} is damaged ({why}); {mend}")
        self.why = why
        self._made_of = name, why, mend

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of  # an actor's error is pickled


class MissingField(DamagedFile, KeyError):
    """A JSON file of a run lacks a field that a command needs."""

    __str__ = Exception.__str__


class Fields(dict[str, Any]):
    """An object of a JSON file, which says so where a field is missing."""

    file, mend = "", ""

    def __missing__(self, key: str) -> Any:
        raise MissingField(self.file, f"no {key}", self.mend)


@dataclass(frozen=True)
class Slice:
    """A range of caption ids, both ends included, in one captions file: the unit of work."""

    id: Id
    file: FileName
    first: str
    last: str
    rows: Count


@dataclass(frozen=True)
class Plan:
    """What a scan will do: which files were read into which tables, and the slices.

    ``counts``: ``rows`` read = ``samples`` + ``rejects``; ``captions`` is how many distinct ones
    are planned (after ``--limit``). ``columns`` says what was chosen in each input file,
    ``skipped`` which files were not read, by reason (:class:`~scanner.storage.Skipped`).
    """

    inputs: tuple[Annotated[dict[str, Any], checked_as(InputRecord)], ...]
    samples: tuple[FileName, ...]
    captions: tuple[FileName, ...]
    rejects: tuple[FileName, ...]
    slices: tuple[Slice, ...]
    counts: Annotated[dict[str, int], checked_as(PlanCounts)]
    columns: Annotated[dict[str, Any], checked_as(dict[str, ColumnsRecord])]
    skipped: Annotated[dict[str, Any], checked_as(dict[str, SkippedRecord])] = field(
        default_factory=dict
    )

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
        plan = decode(name, data, _PlanFile).generations[0]
        inputs = tuple(named_fields(item, name, AGAIN) for item in plan.inputs)
        return replace(plan, inputs=inputs, columns=named_fields(plan.columns, name, AGAIN))


@dataclass(frozen=True)
class _PlanFile:
    generations: Annotated[tuple[Plan, ...], pydantic.Field(min_length=1)]


@dataclass(frozen=True)
class Part:
    """One Parquet file of a commit; ``kind`` is the folder and table it belongs to."""

    kind: str
    path: FileName
    rows: Count
    sha256: str
    bytes: Count = 0


@dataclass(frozen=True)
class Commit:
    """A slice's work, done: the parts that hold its result, and who did it.

    ``generation`` counts repairs from 0. ``seconds`` is how long the computing took; ``notes`` is
    what the work wants known.
    """

    slice: Id
    generation: Count
    attempt: str
    fingerprint: str
    parts: tuple[Part, ...]
    seconds: float
    notes: Annotated[dict[str, Any], checked_as(NotesRecord)] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return commit_name("commits", self.slice, self.generation)

    def rows(self, kind: str) -> int:
        return sum(part.rows for part in self.parts if part.kind == kind)

    def to_json(self) -> bytes:
        return encode(asdict(self))

    @classmethod
    def from_json(cls, name: str, data: bytes, mend: str = AGAIN) -> "Commit":
        commit = decode(name, data, cls, mend)
        return replace(commit, notes=named_fields(commit.notes, name, mend))


def commit_name(folder: str, slice_id: str, generation: int) -> str:
    return f"{folder}/{slice_id}.{generation}.json"


def encode(record: Any) -> bytes:
    """JSON as every file of a run has it: indented, in UTF-8."""
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def decode(name: str, data: bytes, kind: type[Record], mend: str = AGAIN) -> Record:
    """What a JSON file holds, as a dataclass or typed dictionary; ``name``: its full path or URL.

    Raises DamagedFile where the file is cut off, changed, too large or too deep, where a field has
    another type, and where a name leads out of the run, with what mends it.
    """
    if len(data) > LARGEST_BYTES:
        raise DamagedFile(name, f"over {LARGEST_BYTES >> 20} MiB", mend)
    try:
        return _adapter(cast(Any, kind)).validate_json(data, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        why = f"{place}{': ' if place else ''}{first['msg']}"
        raise DamagedFile(name, why, mend) from error


def read_json(store: Store, name: str, kind: Any, mend: str = AGAIN) -> dict[str, Any]:
    """The object in a JSON file, of a typed dictionary's kind. Raises DamagedFile, also where a
    field is asked for that it lacks."""
    place = store.location(name)
    return named_fields(decode(place, store.read(name, LARGEST_BYTES), kind, mend), place, mend)


def named_fields(value: Any, file: str, mend: str) -> Any:
    """The same, with objects that name their file where a field is missing."""
    if isinstance(value, dict):
        fields = Fields({key: named_fields(one, file, mend) for key, one in value.items()})
        fields.file, fields.mend = file, mend
        return fields
    return [named_fields(one, file, mend) for one in value] if isinstance(value, list) else value


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)
