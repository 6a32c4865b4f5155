"""Write jobs/OPTIONS.md: every option of every command, with its help text.

Example: python -m jobs.development.options_page
"""

import dataclasses
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tyro

from jobs.cli import COMMANDS
from jobs.console.options import field_help
from jobs.console.terminal import command

ROOT = Path(__file__).parents[2]
OPENING = """# Options

All options, as `memscan COMMAND --help` prints them. [README.md](README.md) explains
what the commands do. `python -m jobs.development.options_page` writes this page.
"""


@dataclass(frozen=True)
class OptionsPageConfig:
    """The page to write."""

    page: Path = ROOT / "jobs/OPTIONS.md"
    """Markdown page to write."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(OptionsPageConfig, "jobs.development.options_page", __doc__, _write, arguments)


def _write(config: OptionsPageConfig) -> int:
    config.page.write_text(options_page(), encoding="utf-8")
    return 0


def options_page() -> str:
    """Return the page."""
    sections = [OPENING]
    for name, purpose in COMMANDS.items():
        lines = [
            f"## memscan {name.replace('_', '-')}",
            "",
            f"{purpose[0].upper()}{purpose[1:]}.",
            "",
            "| option | |",
            "|---|---|",
        ]
        lines += [f"| {flag} | {text} |" for flag, text in options_of(config_of(f"jobs.{name}"))]
        sections.append("\n".join([*lines, ""]))
    return "\n".join(sections)


def config_of(module: str) -> type[Any]:
    """Return the dataclass of a module's options: that of the command, if it extends another."""
    found = [
        value
        for value in vars(importlib.import_module(module)).values()
        if isinstance(value, type)
        and dataclasses.is_dataclass(value)
        and value.__name__.endswith(("Config", "Command"))
    ]
    (config,) = [one for one in found if all(issubclass(one, other) for other in found)]
    return config


def options_of(config: type[Any]) -> Iterator[tuple[str, str]]:
    """Yield each option with its help text, choices and default, as Markdown."""
    hints = get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from options_of(hint)
        else:
            yield f"`{_flag(field, hint)}`", _text(config, field, hint)


def _flag(field: dataclasses.Field[Any], hint: Any) -> str:
    name = field.name.rstrip("_").replace("_", "-")
    if tyro.conf.Positional in getattr(hint, "__metadata__", ()):
        return field.name.upper()
    return f"--no-{name}" if field.default is True else f"--{name}"


def _text(config: type[Any], field: dataclasses.Field[Any], hint: Any) -> str:
    text = str(field_help(config, field.name)).rstrip(".")
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if choices:
        text += f"; one of {', '.join(f'`{choice}`' for choice in choices)}"
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        text += " (required)"
    elif isinstance(field.default, tuple):
        text += f" (default: `{' '.join(map(str, field.default))}`)" if field.default else ""
    elif isinstance(field.default, str | int | float | Path) and not isinstance(
        field.default, bool
    ):
        text += f" (default: `{field.default}`)" if field.default != "" else ""
    return text.replace("|", "\\|") + "."


if __name__ == "__main__":
    sys.exit(main())
