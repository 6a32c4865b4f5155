"""Parse a command's options from the fields of a dataclass; their docstrings are the help texts."""

import contextlib
import dataclasses
import difflib
import functools
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

from jobs.console.escaping import escaped
from jobs.console.list_options import reorder
from scanner.errors import UsageError, UserError

Config = TypeVar("Config")
MARKERS = (
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.OmitArgPrefixes,
    tyro.conf.PositionalMetavarFromFieldName,
)


def parse(config: type[Config], command: str, purpose: str, arguments: Sequence[str]) -> Config:
    """Parse a command's options; invalid ones end the process with status 2.

    ``--config FILE`` names a TOML file with the same names; flags override it.
    """
    words = list(arguments)
    if "config" in {field.name for field in dataclasses.fields(config)}:  # type: ignore[arg-type]
        words = [*_from_toml(config, words), *words]
    _refuse_unknown(config, command, words)
    words = reorder(_options(config), words)
    registry = ConstructorRegistry()
    registry.struct_rule(_own_options_first)
    registry.primitive_rule(_without_none)
    errors = io.StringIO()
    try:
        with registry, contextlib.redirect_stderr(errors):
            options: Config = tyro.cli(
                config, prog=program(command), description=purpose, args=words, config=MARKERS
            )
    finally:
        # Errors quote arguments, which may be file names expanded by a shell.
        sys.stderr.write(escaped(errors.getvalue()))
    return options


def _refuse_unknown(config: type[Any], command: str, words: Sequence[str]) -> None:
    """Raise UsageError for unknown flags, before the parser reports options as missing."""
    names = [name.rstrip("_").replace("_", "-") for name in _options(config)]
    flags = ["--help", *(f"--{name}" for name in names), *(f"--no-{name}" for name in names)]
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in flags:
            similar = difflib.get_close_matches(flag, flags, 1)
            suggestion = f"; did you mean {similar[0]}?" if similar else ""
            raise UsageError(
                f"no option {flag}{suggestion} ({program(command)} --help lists all options)"
            )


def program(command: str) -> str:
    """Return how a command is called: ``jobs.X`` is a module of the checkout, not of memscan."""
    return f"python -m {command}" if command.startswith("jobs.") else f"memscan {command}"


def pairs(flag: str, items: Sequence[str]) -> dict[str, str]:
    """Return ``name=value`` arguments as a dictionary. Raises UsageError."""
    values: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"{flag} {item}: must have the form name=value")
        if name in values:
            raise UsageError(f"{flag} {name}: given twice, as {values[name]} and as {value}")
        values[name] = value
    return values


def _own_options_first(info: StructTypeInfo) -> StructConstructorSpec | None:
    """List a dataclass's own options before inherited ones, and hide defaults that are None, empty
    or a flag's."""
    if not dataclasses.is_dataclass(info.type):
        return None
    kind: Any = info.type
    hints = get_type_hints(kind, include_extras=True)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    # A command's class may have no fields, and only combine those of other classes.
    own: dict[str, Any] = next(filter(None, map(inspect.get_annotations, kind.__mro__)), {})
    fields.sort(key=lambda field: field.name not in own)
    return StructConstructorSpec(
        instantiate=kind,
        fields=tuple(
            StructFieldSpec(
                name=field.name,
                type=_shown(field, hints[field.name]),
                default=_default(field),
                helptext=field_help(kind, field.name),
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


def field_help(kind: type[Any], name: str) -> str | None:
    """Return a field's docstring as running text."""
    for each in kind.__mro__[:-1]:
        if text := _field_texts(each).get(name):
            return text
    return None


@functools.cache
def _field_texts(kind: type[Any]) -> dict[str, str]:
    """The docstrings of a class's own fields, by name; reading them takes a while."""
    fields = docstring_parser.parse_from_object(kind).params
    return {one.arg_name: " ".join(one.description.split()) for one in fields if one.description}


def _shown(field: dataclasses.Field[Any], hint: Any) -> Any:
    """Return a field's type, annotated to hide its default if that is None, empty or a flag's."""
    plain, *annotations = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if dataclasses.is_dataclass(plain):
        return hint
    default = _default(field)
    if default is None or isinstance(default, bool) or default in ("", ()):
        return Annotated[(plain, tyro.conf.arg(help_behavior_hint=""), *annotations)]
    return hint


def _without_none(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Parse an optional type as its non-None type: omitting the option means None."""
    if get_origin(info.type) not in (Union, types.UnionType):
        return None
    (inner,) = (part for part in get_args(info.type) if part is not type(None))
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(inner, set(info.markers)))
    assert isinstance(spec, PrimitiveConstructorSpec), f"{inner} can be parsed from arguments"
    return dataclasses.replace(
        spec,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: (
            ["None"] if value is None else spec.str_from_instance(value)
        ),
    )


def _from_toml(config: type[Any], arguments: Sequence[str]) -> list[str]:
    """Return a TOML file's entries as command-line arguments, which one parser then checks."""
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
            # A flag can only be set to the opposite of its default.
            words += [] if value is default else [flag if value else f"--no-{flag[2:]}"]
        else:
            words += [flag, *map(str, value if isinstance(value, list) else [value])]
    return words


def _options(config: Any) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a config and of nested dataclasses, whose flags have no prefix."""
    options: dict[str, dataclasses.Field[Any]] = {}
    for field in dataclasses.fields(config):
        nested = dataclasses.is_dataclass(field.type)
        options |= _options(field.type) if nested else {field.name: field}
    return options
