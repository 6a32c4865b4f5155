"""What all commands share: running, exit codes, errors, and what they print."""

import contextlib
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from jobs.console.escaping import escaped, json_text, printable
from jobs.console.heartbeat import heartbeat
from jobs.console.logs import LogOptions, logging_to_stderr, note_output, set_format
from jobs.console.options import parse
from jobs.console.streams import as_text, escape_messages, escapes_json, prepare_streams
from scanner.errors import UsageError, UserError
from scanner.storage import skipped_lines

log = logging.getLogger("memscan")

Config = TypeVar("Config")
REPEAT_SECONDS = 0.05


def command(
    config: type[Config],
    name: str,
    purpose: str | None,
    do: Callable[[Config], int],
    arguments: Sequence[str] | None,
) -> int:
    """Parse a command's options (by default the process's arguments) and call ``do`` with them.

    Returns the exit status, as :func:`run` does.
    """
    words = [as_text(word) for word in (sys.argv[1:] if arguments is None else arguments)]

    def body() -> int:
        options = parse(config, name, str(purpose), words)
        if isinstance(options, LogOptions):
            set_format(options.log_format)
        with heartbeat(name):
            return do(options)

    return run(body)


def run(command: Callable[[], int]) -> int:
    """Run a command and return its exit status; an error that the user can fix is one line.

    1: failed; 2: invalid arguments; 130: Ctrl-C or SIGTERM. An unexpected exception keeps its
    traceback.
    """
    prepare_streams()
    escape_messages()
    with logging_to_stderr():
        return _run(command)


def _run(command: Callable[[], int]) -> int:
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
        complain("stopped; rerun the same command to resume")
        return 130  # the shells' status of a program that Ctrl-C ended
    except BrokenPipeError:
        # The reader is gone, but what is buffered is still written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        line = _describe(error)
        if line is None:
            raise
        complain(line)
        return 1


def _describe(error: Exception) -> str | None:
    """Return one line about an error of the machine, a store or Ray; None for any other."""
    if type(error).__module__.startswith("ray."):
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        return (
            f"Ray: {type(error).__name__}: {reason}; what is committed is safe: rerun "
            "the same command"
        )
    if isinstance(error, UnicodeEncodeError):
        text = ascii(error.object[error.start : error.end])
        return (
            f"{text} cannot be written in this locale's encoding ({error.encoding}); set "
            "LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        )
    from scanner.storage.error_messages import storage_error_message

    return storage_error_message(error)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Make SIGTERM end the process as Ctrl-C does: save what is done, shut Ray down.

    Python drops an exception that a signal raises within a weak reference's callback or a
    finalizer; the signal is then repeated.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    ended = threading.Event()

    def repeat(dropped: Any) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # A moment later: it must not be raised in this hook.
            threading.Timer(REPEAT_SECONDS, kill).start()
        else:
            hook(dropped)

    def kill() -> None:
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    before, hook = signal.signal(signal.SIGTERM, interrupt), sys.unraisablehook
    sys.unraisablehook = repeat
    try:
        yield
    finally:
        ended.set()
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


def show(text: str) -> None:
    """Print a result to standard output, with control characters escaped."""
    note_output()
    print(escaped(text), flush=True)


def next_step(*words: str) -> None:
    """Print a command to run next, quoted for a shell."""
    show(f"next: {shlex.join(words)}")


def warn(line: str) -> None:
    """Log, in one line, what the user should know besides the result."""
    log.warning(line, extra={"complaint": True})


def complain(problem: object) -> None:
    """Log an error, which has several lines if it quotes a query."""
    log.error(str(problem), extra={"complaint": True, "multiline": True})


def announce_loading(libraries: str) -> None:
    """Log that libraries load, which takes seconds: check paths and options before."""
    if "torch" not in sys.modules:
        log.info(f"loading {libraries}")


def load_libraries() -> None:
    """Load torch, diffusers and transformers, and turn off their progress bars."""
    announce_loading("PyTorch, diffusers and transformers")
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()


def print_json(record: Any) -> None:
    print(json_text(record, escapes_json()))


def print_rejects(reasons: dict[str, int], column: int = 11) -> None:
    """Print one line per reason, from ``column`` on."""
    for reason, count in reasons.items():
        show(f"{'rejected':{column}}{count:,}: {printable(reason)}")


def print_skipped(skipped: dict[str, Any], column: int = 11) -> None:
    """Print the files that were not read, one line per reason, from ``column`` on."""
    for line in skipped_lines(skipped):
        show(f"{'files':{column}}{printable(line)}")
