"""The slices of a plan, and how its file holds millions of them: column by column."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

from pydantic import ConfigDict, GetCoreSchemaHandler, GetPydanticSchema
from pydantic_core import core_schema
from typing_extensions import TypedDict

from scanner.run.json_files import Count, FileName, Id


@dataclass(frozen=True, slots=True)
class Slice:
    """A row group of a captions file, or a range of caption ids in it: the unit of work.

    first, last: its lowest and highest caption id. row_group: its index in the file; None for all
    rows of the file with ids from first to last, as of a slice that a purge has emptied.
    """

    id: Id
    file: FileName
    first: str
    last: str
    rows: Count
    row_group: Count | None = None


class SliceColumns(TypedDict):
    """Slices in a plan's file: one list per field. ``file``: indexes into ``files``."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]
    files: list[FileName]
    file: list[Count]
    id: list[Id]
    first: list[str]
    last: list[str]
    rows: list[Count]
    row_group: list[Count | None]


def to_columns(slices: Sequence[Slice]) -> dict[str, list[Any]]:
    """Return the slices as :class:`SliceColumns`."""
    columns: dict[str, list[Any]] = {
        field.name: [getattr(item, field.name) for item in slices] for field in fields(Slice)
    }
    files = list(dict.fromkeys(columns["file"]))
    index = {name: position for position, name in enumerate(files)}
    return {"files": files, **columns, "file": [index[name] for name in columns["file"]]}


def _from_columns(found: dict[str, Any]) -> tuple[Slice, ...]:
    """Return the slices of a plan's file. Raises ValueError if its columns do not fit."""
    files, names = found["files"], [field.name for field in fields(Slice)]
    if len({len(found[name]) for name in names}) > 1:
        raise ValueError("its columns differ in length")
    if any(position >= len(files) for position in found["file"]):
        raise ValueError("file: an index beyond files")
    columns = {**found, "file": [files[position] for position in found["file"]]}
    return tuple(map(Slice, *(columns[name] for name in names)))


def _schema(_: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
    columns = handler.generate_schema(SliceColumns)
    return core_schema.no_info_after_validator_function(_from_columns, columns)


Slices = Annotated[tuple[Slice, ...], GetPydanticSchema(_schema)]
