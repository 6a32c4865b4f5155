"""A curation policy: rules in order, read from TOML and checked key by key."""

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from scanner.errors import UserError
from scanner.query import shown

DEFAULT = Path(__file__).parent / "default.toml"
_CLOSED = ConfigDict(extra="forbid")
# A field's description is what an error says that its value must be.
Text = Annotated[str, Field(strict=True, pattern=r"\S", description="a text that is not empty")]
Count = Annotated[
    int, Field(strict=True, ge=1, lt=1 << 63, description="a whole number from 1 on, below 2^63")
]
Share = Annotated[float, Field(strict=True, gt=0, le=1, description="a share above 0, up to 1")]
Code = Annotated[
    str,
    Field(
        strict=True,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="a code of letters, digits, dashes and dots",
    ),
]


@dataclass(frozen=True)
class Rule:
    """What happens to the samples of captions for which a predicate holds.

    ``when`` is a SQL predicate on the view ranked, with verdict and cluster. ``action``: keep (and
    protect from later rules and from other captions of the same image), drop, cap (leave ``keep``
    samples of each caption, cluster or image, as ``of`` says) or recaption (keep the image, flag
    the caption). ``reason`` is the code that each sample gets.
    """

    __pydantic_config__ = _CLOSED
    reason: Code
    when: Text
    action: Literal["keep", "drop", "cap", "recaption"]
    keep: Count = 1
    of: Literal["caption", "cluster", "image"] = "caption"


@dataclass(frozen=True)
class Limits:
    """What may be removed without --force.

    ``source``: the share of one input file's samples. ``cluster``: the share of all samples that
    one cluster of near-duplicate captions may lose.
    """

    __pydantic_config__ = _CLOSED
    source: Share = 0.5
    cluster: Share = 0.1


@dataclass(frozen=True)
class _Document:
    """A policy's file."""

    __pydantic_config__ = _CLOSED
    name: Text
    version: Count
    rules: Annotated[
        tuple[Rule, ...],
        Field(alias="rule", min_length=1, description="at least one table, as [[rule]]"),
    ]
    limits: Annotated[Limits, Field(description="a table, as [limits]")] = field(
        default_factory=Limits
    )
    rejects: Literal["keep", "drop"] = "keep"


@dataclass(frozen=True)
class Policy(_Document):
    """Rules in order; the first one that holds for a caption decides.

    ``rejects``: whether rows that planning could not use are kept or dropped in cleaned copies.
    ``text``: the file as it was read, comments and all.
    """

    text: str = field(default="", compare=False, repr=False)

    @property
    def id(self) -> str:
        """Name, version and a hash of all that the policy says; every listed sample carries it."""
        said = {name: value for name, value in asdict(self).items() if name != "text"}
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{self.version}-{digest[:12]}"


def read_policy(name: str) -> Policy:
    """The policy in a TOML file, or the one that ships, by the name default. Raises UserError."""
    path = DEFAULT if name == "default" else Path(name)
    where = f"--policy {name}"
    try:
        text = path.read_text(encoding="utf-8")
        record = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{where}: cannot be read: {error}; name a TOML file, or default for the one that ships"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: not TOML: {error}") from error
    return policy_of(record, where, text)


def policy_of(record: dict[str, Any], where: str, text: str = "") -> Policy:
    """The policy that a TOML document says. Raises UserError that names key, value and choices."""
    try:
        found = TypeAdapter(_Document).validate_python(record)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise UserError(f"{where}: {_problem(record, first)}") from error
    for number, (rule, given) in enumerate(zip(found.rules, record["rule"], strict=True), 1):
        extra = [key for key in ("keep", "of") if key in given]
        if rule.action != "cap" and extra:
            raise UserError(
                f"{where}: rule {number} ({rule.reason}): {extra[0]} = {given[extra[0]]!r}: only "
                "action = 'cap' takes it"
            )
    reasons = [rule.reason for rule in found.rules]
    for reason in reasons:
        if reasons.count(reason) > 1:
            raise UserError(
                f"{where}: reason = {reason!r} in {reasons.count(reason)} rules: each rule needs "
                "a reason of its own, so that a listed sample tells which one it was"
            )
    return Policy(**vars(found), text=text)


def _problem(record: dict[str, Any], error: Any) -> str:
    """An error of pydantic's in the words of the file: where, which key, its value, what else."""
    place, prefix = list(error["loc"]), ""
    kind: type[_Document | Rule | Limits] = _Document
    if len(place) > 2 and place[0] == "rule":
        reason = record["rule"][place[1]].get("reason")
        named = f" ({reason})" if isinstance(reason, str) and len(reason) < 100 else ""
        kind, prefix = Rule, f"rule {place[1] + 1}{named}: "
    elif len(place) > 1 and place[0] == "limits":
        kind, prefix = Limits, "limits: "
    key = str(place[-1] if kind is not _Document else place[0])
    known = _fields(kind)
    if key not in known:
        keys = ", ".join(known)
        return f"{prefix}{shown(key)[1:-1]} = {_value(error)}: no such key; there are {keys}"
    if error["type"] == "missing":
        return f"{prefix}{key} is missing: must be {known[key]}"
    return f"{prefix}{key} = {_value(error)}: must be {known[key]}"


def _value(error: Any) -> str:
    text = repr(error["input"])
    return text if len(text) <= 200 else f"{text[:199]}…"


def _fields(kind: Any) -> dict[str, str]:
    """By the keys of a table of the file, what their values must be."""
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for item in fields(kind):
        marks = getattr(hints[item.name], "__metadata__", ())
        about = next((mark for mark in marks if isinstance(mark, FieldInfo)), None)
        choices = ", ".join(map(str, get_args(hints[item.name])))
        name = (about and about.alias) or item.name
        found[name] = str(about.description) if about else f"one of {choices}"
    return found
