"""What every command does alike: errors, exit codes, what it says."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from jobs.options import parse
from scanner.errors import UsageError, UserError
from scanner.storage import skipped_lines

Config = TypeVar("Config")


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

    1 for what failed, 2 for wrong arguments, 130 for Ctrl-C; anything unforeseen keeps its
    traceback.
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
        return 130  # as shells say of a program that a signal 2 has ended
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


def print_rejects(reasons: dict[str, int], column: int = 11) -> None:
    """A line a reason; ``column``: where it begins."""
    for reason, count in reasons.items():
        print(f"{'rejected':{column}}{count:,}: {reason}")


def print_skipped(skipped: dict[str, Any], column: int = 11) -> None:
    """Print the files that were not read, a line per reason; ``column``: where it begins."""
    for line in skipped_lines(skipped):
        print(f"{'files':{column}}{line}")


def printable(text: str) -> str:
    """Text without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
