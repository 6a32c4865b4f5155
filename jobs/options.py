"""The options of a command: the fields of a dataclass, with their docstrings as help."""

import contextlib
import dataclasses
import difflib
import inspect
import io
import itertools
import sys
import tomllib
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from jobs.escaping import escaped
from jobs.list_options import reorder
from scanner.errors import UsageError, UserError

Config = TypeVar("Config")
MARKERS = (
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.OmitArgPrefixes,
    tyro.conf.PositionalMetavarFromFieldName,
)


def parse(config: type[Config], command: str, purpose: str, arguments: Sequence[str]) -> Config:
    """The options of a command; wrong ones end the process with status 2.

    ``--config FILE`` names a TOML file with the same names; flags win over it.
    """
    words = list(arguments)
    if "config" in {field.name for field in dataclasses.fields(config)}:  # type: ignore[arg-type]
        words = [*_from_toml(config, words), *words]
    _refuse_unknown(config, command, words)
    words = reorder(_options(config), words)
    registry = ConstructorRegistry()
    registry.struct_rule(_as_it_reads_best)
    registry.primitive_rule(_or_none)
    complaints = io.StringIO()
    try:
        with registry, contextlib.redirect_stderr(complaints):
            options: Config = tyro.cli(
                config, prog=program(command), description=purpose, args=words, config=MARKERS
            )
    finally:
        # They quote the words, which a shell may have made of the names of files.
        sys.stderr.write(escaped(complaints.getvalue()))
    return options


def _refuse_unknown(config: type[Any], command: str, words: Sequence[str]) -> None:
    """Before the parser complains of what is missing: a mistyped flag is why."""
    names = [name.rstrip("_").replace("_", "-") for name in _options(config)]
    flags = ["--help", *(f"--{name}" for name in names), *(f"--no-{name}" for name in names)]
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in flags:
            alike = difflib.get_close_matches(flag, flags, 1)
            meant = f"; did you mean {alike[0]}?" if alike else ""
            raise UsageError(f"no option {flag}{meant} ({program(command)} --help lists them)")


def program(command: str) -> str:
    """Return how a command is called: ``jobs.X`` is a module of the checkout, not of memscan."""
    return f"python -m {command}" if command.startswith("jobs.") else f"memscan {command}"


def pairs(flag: str, items: Sequence[str]) -> dict[str, str]:
    """``name=value`` words as a dictionary. Raises UsageError."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"{flag} {item}: write name=value")
        if name in found:
            raise UsageError(f"{flag} {name}: given twice, as {found[name]} and as {value}")
        found[name] = value
    return found


def _as_it_reads_best(info: StructTypeInfo) -> StructConstructorSpec | None:
    """A dataclass's own options before those that it shares with other commands; a default that is
    None, empty or a flag's is no value to show, and None none to give."""
    if not dataclasses.is_dataclass(info.type):
        return None
    kind: Any = info.type
    hints = get_type_hints(kind, include_extras=True)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    # A command's class may only join a scan's options with those of commands.
    own: dict[str, Any] = next(filter(None, map(inspect.get_annotations, kind.__mro__)), {})
    fields.sort(key=lambda field: field.name not in own)
    return StructConstructorSpec(
        instantiate=kind,
        fields=tuple(
            StructFieldSpec(
                name=field.name,
                type=_shown(field, hints[field.name]),
                default=_default(field),
                helptext=_help(kind, field.name),
            )
            for field in fields
        ),
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return tyro.MISSING


def _help(kind: type[Any], name: str) -> str | None:
    """A field's docstring as running text."""
    for each in kind.__mro__[:-1]:
        for field in docstring_parser.parse_from_object(each).params:
            if field.arg_name == name and field.description:
                return " ".join(field.description.split())
    return None


def _shown(field: dataclasses.Field[Any], hint: Any) -> Any:
    """A field's type with how its help shows it, where the field does not say it itself."""
    plain, *said = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if dataclasses.is_dataclass(plain):
        return hint
    default = _default(field)
    if default is None or isinstance(default, bool) or default in ("", ()):
        return Annotated[(plain, tyro.conf.arg(help_behavior_hint=""), *said)]
    return hint


def _or_none(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """What may be None is read as if it might not: None is to leave the option out."""
    if get_origin(info.type) not in (Union, types.UnionType):
        return None
    (inner,) = (each for each in get_args(info.type) if each is not type(None))
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(inner, set(info.markers)))
    assert isinstance(spec, PrimitiveConstructorSpec), f"{inner} is read from words"
    return dataclasses.replace(
        spec,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: (
            ["None"] if value is None else spec.str_from_instance(value)
        ),
    )


def _from_toml(config: type[Any], arguments: Sequence[str]) -> list[str]:
    """A TOML file's entries as words of the command line, so that one parser checks both."""
    pairs = itertools.pairwise(arguments)
    paths = [after for flag, after in pairs if flag == "--config"]
    paths += [word.partition("=")[2] for word in arguments if word.startswith("--config=")]
    if not paths:
        return []
    try:
        record = tomllib.loads(Path(paths[-1]).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--config {paths[-1]}: cannot be read: {error}") from error
    options = _options(config)
    given = {word.partition("=")[0].replace("_", "-") for word in arguments}
    words: list[str] = []
    for key, value in record.items():
        if key.replace("-", "_") not in options:
            raise UsageError(f"--config {paths[-1]}: no option {key!r}; see --help for the names")
        flag = "--" + key.replace("_", "-")
        if flag in given:
            continue
        default = options[key.replace("-", "_")].default
        if isinstance(value, bool):
            # A flag is there for the other way only.
            words += [] if value is default else [flag if value else f"--no-{flag[2:]}"]
        else:
            words += [flag, *map(str, value if isinstance(value, list) else [value])]
    return words


def _options(config: Any) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a config, and of the dataclasses in it, whose flags have no prefix."""
    found: dict[str, dataclasses.Field[Any]] = {}
    for field in dataclasses.fields(config):
        nested = dataclasses.is_dataclass(field.type)
        found |= _options(field.type) if nested else {field.name: field}
    return found
