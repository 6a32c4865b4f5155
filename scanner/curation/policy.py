"""A curation policy: rules in order, read from TOML and checked key by key."""

import hashlib
import json
import re
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from scanner.errors import UserError

ACTIONS = ("keep", "drop", "cap", "recaption")
UNITS = ("caption", "cluster", "image")
REJECTS = ("keep", "drop")
DEFAULT = Path(__file__).parent / "default.toml"


@dataclass(frozen=True)
class Rule:
    """What happens to the samples of captions for which a predicate holds.

    ``when`` is a SQL predicate on the view ranked, with verdict and cluster. ``action``: keep (and
    protect from later rules and from other captions of the same image), drop, cap (leave ``keep``
    samples of each caption, cluster or image, as ``of`` says) or recaption (keep the image, flag
    the caption). ``reason`` is the code that each sample gets.
    """

    reason: str
    when: str
    action: str
    keep: int = 1
    of: str = "caption"


@dataclass(frozen=True)
class Limits:
    """What may be removed without --force.

    ``source``: the share of one input file's samples. ``cluster``: the share of all samples that
    one cluster of near-duplicate captions may lose.
    """

    source: float = 0.5
    cluster: float = 0.1


@dataclass(frozen=True)
class Policy:
    """Rules in order; the first one that holds for a caption decides.

    ``rejects``: whether rows that planning could not use are kept or dropped in cleaned copies.
    ``text``: the file as it was read, comments and all.
    """

    name: str
    version: int
    rules: tuple[Rule, ...]
    limits: Limits = field(default_factory=Limits)
    rejects: str = "keep"
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
    return replace(policy_of(record, where), text=text)


def policy_of(record: dict[str, Any], where: str) -> Policy:
    """The policy that a TOML document says. Raises UserError that names key, value and choices."""
    _check_keys(record, ("name", "version", "rejects", "limits", "rule"), where)
    rules = record.get("rule")
    if (
        not rules
        or not isinstance(rules, list)
        or not all(isinstance(rule, dict) for rule in rules)
    ):
        raise UserError(f"{where}: rule = {rules!r}: must be at least one table, as [[rule]]")
    limits = record.get("limits", {})
    if not isinstance(limits, dict):
        raise UserError(f"{where}: limits = {limits!r}: must be a table, as [limits]")
    _check_keys(limits, [item.name for item in fields(Limits)], f"{where}: limits")
    policy = Policy(
        name=_text(record, "name", where),
        version=_count(record, "version", where),
        rules=tuple(_rule(rule, f"{where}: rule {k}") for k, rule in enumerate(rules, 1)),
        limits=Limits(**{key: _share(limits, key, f"{where}: limits") for key in limits}),
        rejects=_choice({"rejects": Policy.rejects, **record}, "rejects", REJECTS, where),
    )
    reasons = [rule.reason for rule in policy.rules]
    for reason in reasons:
        if reasons.count(reason) > 1:
            raise UserError(
                f"{where}: reason = {reason!r} in {reasons.count(reason)} rules: each rule needs "
                "a reason of its own, so that a listed sample tells which one it was"
            )
    return policy


def _rule(record: dict[str, Any], where: str) -> Rule:
    _check_keys(record, [item.name for item in fields(Rule)], where)
    reason = _text(record, "reason", where)
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", reason):
        raise UserError(
            f"{where}: reason = {reason!r}: must be a code of letters, digits, dashes and dots"
        )
    where = f"{where} ({reason})"
    action = _choice(record, "action", ACTIONS, where)
    extra = [key for key in ("keep", "of") if key in record]
    if action != "cap" and extra:
        raise UserError(f"{where}: {extra[0]} = {record[extra[0]]!r}: only action = 'cap' takes it")
    given = {"keep": Rule.keep, "of": Rule.of, **record}
    return Rule(
        reason=reason,
        when=_text(record, "when", where),
        action=action,
        keep=_count(given, "keep", where),
        of=_choice(given, "of", UNITS, where),
    )


def _check_keys(record: dict[str, Any], known: Any, where: str) -> None:
    for key, value in record.items():
        if key not in known:
            raise UserError(
                f"{where}: {key} = {value!r}: no such key; there are {', '.join(known)}"
            )


def _text(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {key} = {value!r}: must be a text that is not empty")
    return value


def _count(record: dict[str, Any], key: str, where: str) -> int:
    value = record.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{where}: {key} = {value!r}: must be a whole number from 1 on")
    return value


def _share(record: dict[str, Any], key: str, where: str) -> float:
    value = record.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise UserError(f"{where}: {key} = {value!r}: must be a share above 0, up to 1")
    return float(value)


def _choice(record: dict[str, Any], key: str, allowed: tuple[str, ...], where: str) -> str:
    value = record.get(key)
    if value not in allowed:
        raise UserError(f"{where}: {key} = {value!r}: must be one of {', '.join(allowed)}")
    return str(value)
