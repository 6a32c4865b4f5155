"""Run parts in a separate process, which is killed if a part fails or hangs."""

import sys
import time
import traceback
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

from jobs.bench.acceptance.part import NotMeasured, Options

GRACE = 20.0


@dataclass(frozen=True)
class PartOutcome:
    """Outcome of a part: passed with values, or skipped or failed with a one-line reason."""

    status: str
    seconds: float
    values: dict[str, Any]
    reason: str = ""


class Worker:
    """A process that runs one part after another and keeps loaded models for the next.

    It is replaced after a part that failed or timed out, since a device error would make every
    later part fail too. ``grace``: seconds from a part's deadline until the process is killed.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._context = get_context("spawn")
        self._process: Any = None
        self._ours: Any = None
        self._is_busy = False

    def run(self, name: str, options: Options, budget: float) -> PartOutcome:
        """Run a part with a deadline of ``budget`` seconds for its rounds; kill it ``grace``
        seconds later."""
        began = time.monotonic()
        if self._process is None:
            self._start()
        self._ours.send((name, replace(options, deadline=began + budget)))
        self._is_busy = True
        outcome = self._answer(began, budget)
        if outcome.status == "failed":
            self.stop()
        return outcome

    def stop(self) -> None:
        """Stop the process; kill it if it is running a part."""
        if self._process is not None:
            self._ours.close()
            self._process.join(0 if self._is_busy else self._grace)
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        self._ours, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,))
        self._process.start()
        self._is_busy = False
        theirs.close()

    def _answer(self, began: float, budget: float) -> PartOutcome:
        try:
            if self._ours.poll(budget + self._grace):
                status, values, reason = self._ours.recv()
                self._is_busy = False
                return PartOutcome(status, time.monotonic() - began, values, reason)
            reason = f"no result within {budget + self._grace:.0f} s; stopped"
        except EOFError:
            self._process.join()
            reason = f"its process exited with code {self._process.exitcode}"
        return PartOutcome("failed", time.monotonic() - began, {}, reason)


def _serve(connection: Any) -> None:
    """Run parts from the connection until the other end closes it."""
    from jobs.bench.acceptance.parts import PARTS
    from jobs.console.escaping import escaped
    from jobs.console.terminal import load_libraries

    load_libraries()
    while True:
        try:
            name, options = connection.recv()
        except EOFError:
            return
        try:
            connection.send(("passed", PARTS[name].measure(options), ""))
        except NotMeasured as why:
            connection.send(("skipped", {}, str(why)))
        except Exception as error:
            sys.stderr.write(escaped(traceback.format_exc()))
            line = next(iter(str(error).splitlines()), "")
            connection.send(("failed", {}, f"{type(error).__name__}: {line}"))
