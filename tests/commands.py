"""Commands as files and documents write them, parsed by the real command line."""

import shlex
from typing import Any

from jobs.cli import COMMANDS
from jobs.console.options import parse
from jobs.development.options_page import config_of


def is_command(words: list[str]) -> bool:
    """Whether these are words of a call of memscan, in either of its forms."""
    return words[:1] == ["memscan"] or (
        words[:2] == ["python", "-m"] and words[2].startswith("jobs.")
    )


def parsed(command: str) -> Any:
    """The options that a command line comes to; nothing is run.

    Raises SystemExit or UserError where the real command would refuse it.
    """
    words = shlex.split(command, comments=True)
    assert is_command(words), f"no command of memscan: {command}"
    name, arguments = (words[1], words[2:]) if words[0] == "memscan" else (words[2][5:], words[3:])
    module = name.replace("-", "_") if words[0] == "memscan" else name
    assert words[0] != "memscan" or module in COMMANDS, f"memscan has no command {name}"
    options = parse(config_of(f"jobs.{module}"), name, "", arguments)
    if hasattr(options, "check"):
        options.check()
    return options
