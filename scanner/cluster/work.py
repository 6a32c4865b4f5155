"""What a pool's actor does with an item, in three steps that overlap those of its neighbours."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from scanner.run import Output


class Item(Protocol):
    """A unit of work that is committed whole; picklable and small."""

    @property
    def id(self) -> str:
        """Names it for good: letters, digits, dashes."""


@dataclass
class Result:
    """What becomes of an item: tables, taken one at a time as they are written, and notes.

    ``notes`` is small and goes into the commit as JSON; outputs may still add to it while they
    are taken.
    """

    outputs: Iterable[Output]
    notes: dict[str, Any] = field(default_factory=dict)


class Work(Protocol):
    """Made once in each actor. The three steps of an item run in this order.

    ``compute`` has the device: it runs in one thread of the actor, one item at a time, while the
    next item is prepared and the last one finished and written in others. What takes minutes should
    call :func:`report` now and then: it tells how far it is, and that it is not hanging.
    """

    def prepare(self, item: Any) -> Any:
        """Reads what the item needs; what it returns goes to ``compute``."""

    def compute(self, prepared: Any) -> Any:
        """The work of the device; what it returns goes to ``finish``."""

    def finish(self, computed: Any) -> Result:
        """Makes the tables."""


_report: ContextVar[Callable[[int], None] | None] = ContextVar("report", default=None)


def report(computed: int) -> None:
    """Called by ``compute``: how much of the item is computed so far; outside of actors nothing."""
    note = _report.get()
    if note:
        note(computed)


@contextmanager
def reporting(note: Callable[[int], None]) -> Iterator[None]:
    """Within, ``note`` hears what is reported."""
    token = _report.set(note)
    try:
        yield
    finally:
        _report.reset(token)
