"""The JSON files of a run: their dataclasses, and how they are encoded, decoded and checked."""

import functools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import chain, repeat
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
from scanner.run.slices import Slices, to_columns
from scanner.storage import Skipped, Store

Record = TypeVar("Record")
# Of one JSON file, far above that of any plan.
LARGEST_BYTES = 1 << 30
# The default remedy for a damaged file: most are written by a scan.
RESCAN = "remove it and rerun the same memscan scan, which makes it again"


class DamagedFile(UserError):
    """A JSON file of a run cannot be read, or its content is invalid.

    ``why``: what is wrong with it, without its name or the remedy.
    """

    def __init__(self, name: str, why: str, remedy: str) -> None:
        super().__init__(f"{name} is damaged ({why}); {remedy}")
        self.why = why
        self._arguments = name, why, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments  # errors of actors are pickled


class MissingField(DamagedFile, KeyError):
    """A JSON file of a run lacks a field that a command needs."""

    __str__ = Exception.__str__


class Fields(dict[str, Any]):
    """A JSON object that raises MissingField, naming its file, for a field that it lacks."""

    file, remedy = "", ""

    def __missing__(self, key: str) -> Any:
        raise MissingField(self.file, f"no {key}", self.remedy)


@dataclass(frozen=True)
class Tier:
    """Consecutive slices of a plan whose captions are about as likely memorized, as far as it is
    known before they are scanned. ``name``: which captions; ``slices``: how many."""

    name: str
    slices: Count


@dataclass(frozen=True)
class Plan:
    """The frozen input files, tables and slices of a run.

    ``counts``: ``pairs`` of a row and a caption column (with one column, ``rows``) = ``samples`` +
    ``rejects``; ``captions``: distinct captions planned
    (after ``--limit``). ``columns``: the columns chosen in each input file. ``skipped``: files that
    were not read, by reason (:class:`~scanner.storage.Skipped`). ``tiers``: of the slices, which
    are in order of their tier, then of caption id; () if there is only one.
    """

    inputs: tuple[Annotated[dict[str, Any], checked_as(InputRecord)], ...]
    samples: tuple[FileName, ...]
    captions: tuple[FileName, ...]
    rejects: tuple[FileName, ...]
    slices: Slices
    counts: Annotated[dict[str, int], checked_as(PlanCounts)]
    columns: Annotated[dict[str, Any], checked_as(dict[str, ColumnsRecord])]
    skipped: Annotated[dict[str, Any], checked_as(dict[str, SkippedRecord])] = field(
        default_factory=dict
    )
    tiers: tuple[Tier, ...] = ()

    @classmethod
    def joined(cls, plans: Sequence["Plan"]) -> "Plan":
        """Join several generations into one plan."""
        if len(plans) == 1:
            return plans[0]
        names = {name for plan in plans for name in plan.counts}
        skipped = Skipped()
        for plan in plans:
            skipped.update(Skipped.of(plan.skipped))
        lists: dict[str, Any] = {
            name: tuple(item for plan in plans for item in getattr(plan, name))
            for name in ("inputs", "samples", "captions", "rejects", "slices")
        }
        return cls(
            **lists,
            counts={name: sum(plan.counts.get(name, 0) for plan in plans) for name in names},
            columns={url: chosen for plan in plans for url, chosen in plan.columns.items()},
            skipped=skipped.to_json(),
            tiers=tuple(tier for plan in plans for tier in plan.all_tiers()),
        )

    def all_tiers(self) -> tuple[Tier, ...]:
        """Return the tiers, also if there is only one."""
        return self.tiers or (Tier("all captions", len(self.slices)),)

    def tier_of(self) -> dict[str, int]:
        """Return the index of each slice's tier by the slice's id.

        Slices that no tier counts, as in a file that somebody changed, are of the last one.
        """
        sizes = [tier.slices for tier in self.all_tiers()]
        numbers = chain.from_iterable(repeat(n, size) for n, size in enumerate(sizes))
        names = (item.id for item in self.slices)
        return dict(zip(names, chain(numbers, repeat(len(sizes) - 1)), strict=False))

    def captions_by_tier(self) -> dict[str, int]:
        """Return the number of captions of each tier by its name, in order; {} if there is one."""
        names, counts = [tier.name for tier in self.all_tiers()], Counter[str]()
        tier_of = self.tier_of()
        for item in self.slices:
            counts[names[tier_of[item.id]]] += item.rows
        return dict(counts) if self.tiers else {}

    def to_json(self) -> bytes:
        """Return the plan's file: a list of one generation, with one line per field."""
        record = {item.name: getattr(self, item.name) for item in fields(self)}
        record |= {"slices": to_columns(self.slices), "tiers": [*map(asdict, self.tiers)]}
        compact = functools.partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
        lines = ",\n".join(f"{compact(name)}: {compact(one)}" for name, one in record.items())
        return f'{{"generations": [{{\n{lines}\n}}]}}\n'.encode()

    @classmethod
    def from_json(cls, name: str, data: bytes) -> "Plan":
        plan = decode(name, data, _PlanFile).generations[0]
        inputs = tuple(named_fields(item, name, RESCAN) for item in plan.inputs)
        return replace(plan, inputs=inputs, columns=named_fields(plan.columns, name, RESCAN))


@dataclass(frozen=True)
class _PlanFile:
    generations: Annotated[tuple[Plan, ...], pydantic.Field(min_length=1)]


@dataclass(frozen=True)
class Part:
    """One Parquet file of a commit; ``kind``: its folder and table.

    ``etag``: the store's checksum when it was written (:class:`~scanner.storage.Stored`).
    """

    kind: str
    path: FileName
    rows: Count
    sha256: str
    bytes: Count
    etag: str = ""


@dataclass(frozen=True)
class Commit:
    """The result of a finished slice: its parts, and the attempt that wrote them.

    ``generation`` counts repairs from 0. ``seconds``: duration of the computation.
    ``notes``: whatever the work records.
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

    def paths(self, kind: str) -> list[str]:
        return [part.path for part in self.parts if part.kind == kind]

    def to_json(self) -> bytes:
        return encode(asdict(self))

    @classmethod
    def from_json(cls, name: str, data: bytes, remedy: str = RESCAN) -> "Commit":
        commit = decode(name, data, cls, remedy)
        return replace(commit, notes=named_fields(commit.notes, name, remedy))


def commit_name(folder: str, slice_id: str, generation: int) -> str:
    return f"{folder}/{slice_id}.{generation}.json"


def encode(record: Any) -> bytes:
    """Encode a record as JSON: indented, in UTF-8."""
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def decode(
    name: str,
    data: bytes,
    kind: type[Record],
    remedy: str = RESCAN,
    most_bytes: int = LARGEST_BYTES,
) -> Record:
    """Decode a JSON file as a dataclass or typed dictionary; ``name``: its full path or URL.

    Raises DamagedFile, with ``remedy``, if the file is truncated, changed, over ``most_bytes`` or
    too deep, a field has the wrong type, or a file name leads out of the run.
    """
    if len(data) > most_bytes:
        raise DamagedFile(name, f"over {most_bytes >> 20} MiB", remedy)
    try:
        return _adapter(cast(Any, kind)).validate_json(data, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field_path = ".".join(map(str, first["loc"]))
        why = f"{field_path}{': ' if field_path else ''}{first['msg']}"
        raise DamagedFile(name, why, remedy) from error


def read_json(
    store: Store, name: str, kind: Any, remedy: str = RESCAN, most_bytes: int = LARGEST_BYTES
) -> dict[str, Any]:
    """Read a JSON object as a typed dictionary.

    Raises DamagedFile, and on access to a field that is missing, MissingField.
    """
    path = store.location(name)
    data = store.read(name, most_bytes)
    return named_fields(decode(path, data, kind, remedy, most_bytes), path, remedy)


def named_fields(value: Any, file: str, remedy: str) -> Any:
    """Return the value with its objects as :class:`Fields` of the file."""
    if isinstance(value, dict):
        fields = Fields({key: named_fields(one, file, remedy) for key, one in value.items()})
        fields.file, fields.remedy = file, remedy
        return fields
    return [named_fields(one, file, remedy) for one in value] if isinstance(value, list) else value


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)
