"""What a pool is given to do, and what it tells of it."""

from dataclasses import dataclass, field
from typing import Any

from scanner.run import Commit


@dataclass(frozen=True)
class Event:
    """What the driver learns.

    ``commit`` of an item, ``retry`` of one, ``quarantine`` (it is given up), ``note`` (something
    to tell), or ``tick``. ``reason`` says why; ``running`` has the items at work, by id, with what
    is computed of each.
    """

    kind: str
    item: Any = None
    commit: Commit | None = None
    reason: str = ""
    running: dict[str, int] = field(default_factory=dict)
    actors: int = 0


@dataclass(frozen=True)
class Task:
    """An item, and the generation of its commit (repairs count up)."""

    item: Any
    generation: int = 0
