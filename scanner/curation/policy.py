"""Read and validate a curation policy: ordered rules in TOML."""

import hashlib
import json
import tomllib
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from scanner.errors import UserError
from scanner.query import abbreviated

DEFAULT = Path(__file__).parent / "default.toml"
IMAGE_CLUSTER = "image_cluster"
LISTED = 5  # problems of a policy file that one error shows
_CLOSED = ConfigDict(extra="forbid")
# Errors say "must be" and a field's description.
Text = Annotated[str, Field(strict=True, pattern=r"\S", description="a non-empty string")]
Count = Annotated[
    int, Field(strict=True, ge=1, lt=1 << 63, description="an integer of at least 1, below 2^63")
]
Share = Annotated[
    float, Field(strict=True, gt=0, le=1, description="a number above 0 and at most 1")
]
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
    """An action for the samples of all captions that match a predicate.

    ``when``: a SQL predicate on the view ranked, for example on rank_score (higher means memorized)
    or probability, with the further columns verdict, cluster, p_value and q_value, and of
    reviewers decision (keep, cap or drop), label and is_disputed. ``action``: keep (also protects
    from later rules and from removals of the same image), drop, cap (keep ``keep`` samples per
    caption, cluster, image or image cluster, as given by ``of``) or recaption (keep the image, mark
    the caption). ``of = "image_cluster"``, also of a drop: images that memscan group-images found
    to be the same count as one. ``reason``: the code that affected samples get.
    """

    __pydantic_config__ = _CLOSED
    reason: Code
    when: Text
    action: Literal["keep", "drop", "cap", "recaption"]
    keep: Count = 1
    of: Literal["caption", "cluster", "image", "image_cluster"] = "caption"


@dataclass(frozen=True)
class Limits:
    """Limits on removals without --force.

    ``source``: share of one input file's samples. ``cluster``: share of all samples that one
    cluster of near-duplicate captions may lose.
    """

    __pydantic_config__ = _CLOSED
    source: Share = 0.5
    cluster: Share = 0.1


@dataclass(frozen=True)
class _Document:
    """The content of a policy file."""

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
    """Ordered rules; the first one that matches a caption decides.

    ``rejects``: whether cleaned copies keep or drop rows that planning rejected. ``text``: the
    file's text, including comments.
    """

    text: str = field(default="", compare=False, repr=False)

    @property
    def id(self) -> str:
        """Return name, version and a content hash; every row of the removal list has it."""
        content = {name: value for name, value in asdict(self).items() if name != "text"}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{self.version}-{digest[:12]}"


def read_policy(name: str) -> Policy:
    """Read a policy from a TOML file, or the built-in one named default. Raises UserError."""
    path = DEFAULT if name == "default" else Path(name)
    where = f"--policy {name}"
    try:
        text = path.read_text(encoding="utf-8")
        record = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{where}: cannot be read: {error}; use a TOML file, or default (the built-in policy)"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: invalid TOML: {error}") from error
    return policy_of(record, where, text)


def policy_of(record: dict[str, Any], where: str, text: str = "") -> Policy:
    """Validate a TOML document. Raises UserError with each wrong key, its value and the valid
    choices, at most ``LISTED``."""
    try:
        document = TypeAdapter(_Document).validate_python(record)
    except ValidationError as error:
        # Pydantic also calls a list too short if all its items are invalid.
        problems = [
            _problem(record, each)
            for each in error.errors(include_url=False, include_context=False)
            if each["type"] != "too_short" or not each["input"]
        ]
        raise UserError(_listed(where, problems)) from error
    if problems := _conflicts(document, record):
        raise UserError(_listed(where, problems))
    return Policy(**vars(document), text=text)


def _conflicts(document: _Document, record: dict[str, Any]) -> list[str]:
    """Return the problems of rules whose keys are valid one by one, but not together."""
    problems = []
    for number, (rule, table) in enumerate(zip(document.rules, record["rule"], strict=True), 1):
        extra = [key for key in ("keep", "of") if key in table]
        if rule.action == "drop" and rule.of == IMAGE_CLUSTER:
            extra.remove("of")
        if rule.action != "cap" and extra:
            problems.append(
                f"rule {number} ({rule.reason}): {extra[0]} = {table[extra[0]]!r} needs "
                f"action = 'cap', got {rule.action!r}; remove the key"
            )
    for reason, count in Counter(rule.reason for rule in document.rules).items():
        if count > 1:
            problems.append(
                f"{count} rules have reason = {reason!r}; give each rule a unique reason, which "
                "identifies it in the removal list"
            )
    return problems


def _listed(where: str, problems: list[str]) -> str:
    """Return one problem on the same line as ``where``, several on a line each."""
    if len(problems) == 1:
        return f"{where}: {problems[0]}"
    first = f", the first {LISTED}" if len(problems) > LISTED else ""
    return "\n  ".join([f"{where}: {len(problems)} problems{first}:", *problems[:LISTED]])


def _problem(record: dict[str, Any], error: Any) -> str:
    """Describe a pydantic error in terms of the file: table, key, value, and what is valid."""
    path, prefix = list(error["loc"]), ""
    kind: type[_Document | Rule | Limits] = _Document
    if len(path) > 2 and path[0] == "rule":
        reason = record["rule"][path[1]].get("reason")
        named = f" ({reason})" if isinstance(reason, str) and len(reason) < 100 else ""
        kind, prefix = Rule, f"rule {path[1] + 1}{named}: "
    elif len(path) > 1 and path[0] == "limits":
        kind, prefix = Limits, "limits: "
    key = str(path[-1] if kind is not _Document else path[0])
    known = _fields(kind)
    if key not in known:
        keys = ", ".join(known)
        return f"{prefix}{abbreviated(key)[1:-1]} = {_value(error)}: unknown key; valid: {keys}"
    if error["type"] == "missing":
        # "name" alone could be taken for the file's.
        of_policy = "the policy's " if kind is _Document and key != "rule" else ""
        return f"{prefix}{of_policy}{key} is missing: must be {known[key]}"
    return f"{prefix}{key} = {_value(error)}: must be {known[key]}"


def _value(error: Any) -> str:
    text = repr(error["input"])
    return text if len(text) <= 200 else f"{text[:199]}…"


def _fields(kind: Any) -> dict[str, str]:
    """Return the keys of a table of the file, each with a description of valid values."""
    hints = get_type_hints(kind, include_extras=True)
    descriptions = {}
    for item in fields(kind):
        marks = getattr(hints[item.name], "__metadata__", ())
        about = next((mark for mark in marks if isinstance(mark, FieldInfo)), None)
        choices = ", ".join(map(str, get_args(hints[item.name])))
        name = (about and about.alias) or item.name
        descriptions[name] = str(about.description) if about else f"one of {choices}"
    return descriptions
