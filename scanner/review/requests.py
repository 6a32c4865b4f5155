"""What pages send to the server, checked before anything is done."""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import pydantic

from scanner.errors import UserError
from scanner.run.decisions import CaptionId, Choice, Label, Name, Note

MOST_BYTES = 1 << 20
_STRICT = pydantic.ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Stated:
    """What a reviewer states; a field that is not sent stays as it was, null clears it."""

    __pydantic_config__ = _STRICT
    label: Label | None = None
    decision: Choice | None = None
    note: Note = ""


@dataclass(frozen=True)
class DecideRequest:
    """A decision about captions by id, or about all that a URL's query selects.

    ``count``: how many captions the reviewer saw in that selection; another number is refused.
    ``query``: of the page that showed the captions.
    """

    __pydantic_config__ = _STRICT
    reviewer: Name
    stated: dict[str, Any]
    captions: Annotated[list[CaptionId], pydantic.Field(max_length=10_000)] = field(
        default_factory=list
    )
    selection: str | None = None
    count: int = 0
    query: str = ""


@dataclass(frozen=True)
class UndoRequest:
    __pydantic_config__ = _STRICT
    reviewer: Name


def parse_decide(body: bytes) -> tuple[DecideRequest, dict[str, Any]]:
    """Return a decision and what it states. Raises UserError."""
    request = _parse(DecideRequest, body)
    checked = _parse(Stated, json.dumps(request.stated).encode())
    if not request.stated:
        raise UserError("stated: name a label, a decision or a note")
    return request, {name: getattr(checked, name) for name in request.stated}


def parse_undo(body: bytes) -> UndoRequest:
    """Raises UserError."""
    request: UndoRequest = _parse(UndoRequest, body)
    return request


def _parse(kind: Any, body: bytes) -> Any:
    try:
        return pydantic.TypeAdapter(kind).validate_json(body, strict=True)
    except pydantic.ValidationError as error:
        raise UserError(_first(error)) from error


def _first(error: pydantic.ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'request'}: {problem['msg']}"
