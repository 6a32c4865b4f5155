"""What every command does alike: options, errors, exit codes, what it says."""

import dataclasses
import itertools
import json
import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from scanner.errors import UsageError, UserError

Config = TypeVar("Config")
OPTIONS = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)


def parse(config: type[Config], command: str, purpose: str, arguments: Sequence[str]) -> Config:
    """The options of a command; wrong ones end the process with status 2.

    ``--config FILE`` names a TOML file with the same names; flags win over it.
    """
    words = list(arguments)
    if "config" in {field.name for field in dataclasses.fields(config)}:  # type: ignore[arg-type]
        words = [*_from_toml(config, words), *words]
    options: Config = tyro.cli(
        config,
        prog=f"memscan {command}",
        description=purpose,
        args=words,
        config=OPTIONS,
    )
    return options


def _from_toml(config: type[Any], arguments: Sequence[str]) -> list[str]:
    """A TOML file's entries as words of the command line, so that one parser checks both."""
    pairs = itertools.pairwise(arguments)
    paths = [after for flag, after in pairs if flag == "--config"]
    paths += [word.partition("=")[2] for word in arguments if word.startswith("--config=")]
    if not paths:
        return []
    try:
        record = tomllib.loads(Path(paths[-1]).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--config {paths[-1]}: cannot be read: {error}") from error
    options = _options(config)
    words: list[str] = []
    for key, value in record.items():
        if key.replace("-", "_") not in options:
            raise UsageError(f"--config {paths[-1]}: no option {key!r}; see --help for the names")
        flag = "--" + key.replace("_", "-")
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


def pairs(flag: str, items: Sequence[str]) -> dict[str, str]:
    """``name=value`` words as a dictionary. Raises UsageError."""
    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"{flag} {item}: write name=value")
        found[name] = value
    return found


def command(
    config: type[Config],
    name: str,
    purpose: str | None,
    do: Callable[[Config], int],
    arguments: Sequence[str] | None,
) -> int:
    """A command's main: what it does with its options; see :func:`run`. By default the options
    are the process's own words."""
    words = sys.argv[1:] if arguments is None else arguments
    return run(lambda: do(parse(config, name, str(purpose), words)))


def run(command: Callable[[], int]) -> int:
    """Run a command's body: an error that the user can mend is one line and a status.

    1 for what failed, 2 for wrong arguments; anything unforeseen keeps its traceback.
    """
    try:
        return command()
    except UsageError as error:
        print(f"memscan: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"memscan: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("memscan: stopped; run the same command again to go on", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader has gone; what is still buffered has to go somewhere at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # Clients of object stores have exceptions of their own, which share no class.
        of_a_store = type(error).__module__.split(".")[0] in ("botocore", "aiobotocore", "aiohttp")
        if not (of_a_store or isinstance(error, OSError)):
            raise
        print(
            f"memscan: storage: {type(error).__name__}: {error}; check the location, the "
            "permissions and, for s3, AWS_ENDPOINT_URL and the credentials in the environment",
            file=sys.stderr,
        )
        return 1


def say(line: str) -> None:
    """A line of progress or log, to standard error."""
    print(line, file=sys.stderr, flush=True)


def quiet_libraries() -> None:
    """No progress bars of the libraries' own between ours."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()


def print_json(record: Any) -> None:
    print(json.dumps(record, indent=1, ensure_ascii=False, default=str))


def printable(text: str) -> str:
    """Text without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
