"""What a pool's actor does with an item, in three steps that overlap those of its neighbours."""

from collections.abc import Iterable
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
    next item is prepared and the last one finished and written in others.
    """

    def prepare(self, item: Any) -> Any:
        """Reads what the item needs; what it returns goes to ``compute``."""

    def compute(self, prepared: Any) -> Any:
        """The work of the device; what it returns goes to ``finish``."""

    def finish(self, computed: Any) -> Result:
        """Makes the tables."""
