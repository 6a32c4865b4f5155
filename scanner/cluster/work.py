"""The interface of work: three steps per item, which overlap those of its neighbors."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from scanner.cluster.metrics import Metrics
from scanner.run import Commit, Output


class Item(Protocol):
    """A unit of work that is committed whole; picklable and small."""

    @property
    def id(self) -> str:
        """Permanent name: letters, digits and dashes."""


@dataclass
class Result:
    """The result of an item: tables, taken one at a time as they are written, and notes.

    ``notes`` is small and goes into the commit as JSON; ``outputs`` may add to it while they are
    iterated.
    """

    outputs: Iterable[Output]
    notes: dict[str, Any] = field(default_factory=dict)


class Work(Protocol):
    """Made once per process; the three steps of an item run in this order.

    ``compute`` has the device: in an actor it runs in one thread, one item at a time, while other
    threads prepare the next item and finish and write the last one. It should call :func:`report`
    after each batch, which shows progress and that it does not hang.
    """

    def prepare(self, item: Any) -> Any:
        """Read what the item needs; the result is passed to ``compute``."""

    def compute(self, prepared: Any) -> Any:
        """Use the device; the result is passed to ``finish``."""

    def finish(self, computed: Any) -> Result:
        """Make the tables."""


@runtime_checkable
class Proving(Protocol):
    """Work that tries its device before it gets an item.

    environment: what it runs on (driver, versions, the device's model).
    """

    environment: dict[str, str]

    def prove(self) -> None:
        """Compute a small batch. Raises what is wrong with the device."""


@runtime_checkable
class Measured(Protocol):
    """Work that has metrics besides those of any work."""

    def measure(self, metrics: Metrics, commit: Commit) -> None:
        """Record them; called in an actor after each commit that it computed."""


def notice_of(work: Work) -> str:
    """Return what people should know about the start of a work, its attribute ``notice``; "" if it
    has none."""
    return str(getattr(work, "notice", ""))


_report: ContextVar[Callable[[int], None] | None] = ContextVar("report", default=None)


def report(computed: int) -> None:
    """Report how much of the item is computed so far; for ``compute``, and a no-op elsewhere."""
    on_report = _report.get()
    if on_report:
        on_report(computed)


@contextmanager
def reporting(on_report: Callable[[int], None]) -> Iterator[None]:
    """Pass what is reported within to ``on_report``."""
    token = _report.set(on_report)
    try:
        yield
    finally:
        _report.reset(token)
