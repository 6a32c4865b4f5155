"""What every command does alike: errors, exit codes, what it says."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from jobs.escaping import escaped, json_text, printable
from jobs.options import parse
from jobs.streams import as_text, escape_messages, escapes_json, prepare_streams
from scanner.credentials import without_secrets
from scanner.errors import UsageError, UserError
from scanner.storage import skipped_lines

Config = TypeVar("Config")
# Of a message.
LONGEST_LINE = 2000
MOST_LINES = 40


def command(
    config: type[Config],
    name: str,
    purpose: str | None,
    do: Callable[[Config], int],
    arguments: Sequence[str] | None,
) -> int:
    """A command's main: what it does with its options; see :func:`run`. By default the options
    are the process's own words."""
    words = [as_text(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    return run(lambda: do(parse(config, name, str(purpose), words)))


def run(command: Callable[[], int]) -> int:
    """Run a command's body: an error that the user can mend is one line and a status.

    1 for what failed, 2 for wrong arguments, 130 for Ctrl-C and SIGTERM; anything unforeseen keeps
    its traceback.
    """
    prepare_streams()
    escape_messages()
    try:
        with _terminated_as_interrupted():
            return command()
    except UsageError as error:
        complain(error)
        return 2
    except UserError as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        complain("stopped; run the same command again to go on")
        return 130  # as shells say of a program that Ctrl-C has ended
    except BrokenPipeError:
        # The reader has gone; what is still buffered has to go somewhere at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        line = _foreseen(error)
        if line is None:
            raise
        complain(line)
        return 1


def _foreseen(error: Exception) -> str | None:
    """A line about an error of the machine rather than of this program; None for any other."""
    if type(error).__module__.startswith("ray."):
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        return (
            f"Ray: {type(error).__name__}: {reason}; what is committed is safe: run the same "
            "command again"
        )
    if isinstance(error, UnicodeEncodeError):
        text = ascii(error.object[error.start : error.end])
        return (
            f"{text} cannot be said in this locale's encoding ({error.encoding}); set "
            "LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        )
    from scanner.storage.complaints import complaint

    return complaint(error)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Have SIGTERM end the process as Ctrl-C does: what is done is saved, Ray is shut down."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def show(text: str) -> None:
    """What a command found, to standard output, where nothing in it steers the terminal."""
    print(escaped(text), flush=True)


def say(line: str) -> None:
    """One line of progress or log, to standard error, whatever is in it."""
    print(_shortened(printable(without_secrets(line))), file=sys.stderr, flush=True)


def complain(problem: object) -> None:
    """An error, of several lines where it quotes a query, to standard error."""
    lines = escaped(without_secrets(f"memscan: {problem}")).split("\n")
    shown = [*lines[:MOST_LINES], *(["…"] if len(lines) > MOST_LINES else [])]
    print("\n".join(map(_shortened, shown)), file=sys.stderr, flush=True)


def _shortened(line: str) -> str:
    """A line without its middle, where a name in it from someone's file has made it endless."""
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} … {line[-half:]}"


def quiet_libraries() -> None:
    """No progress bars of the libraries' own between ours."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()


def print_json(record: Any) -> None:
    print(json_text(record, escapes_json()))


def print_rejects(reasons: dict[str, int], column: int = 11) -> None:
    """A line a reason; ``column``: where it begins."""
    for reason, count in reasons.items():
        show(f"{'rejected':{column}}{count:,}: {printable(reason)}")


def print_skipped(skipped: dict[str, Any], column: int = 11) -> None:
    """Print the files that were not read, a line per reason; ``column``: where it begins."""
    for line in skipped_lines(skipped):
        show(f"{'files':{column}}{printable(line)}")
