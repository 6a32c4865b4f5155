"""What a pool is given to do, and what it tells of it."""

from dataclasses import dataclass
from typing import Any

from scanner.run import Commit


@dataclass(frozen=True)
class Event:
    """What the driver learns.

    ``commit`` of an item, ``retry`` of one, ``quarantine`` (it is given up), ``note`` (something
    to tell), or ``tick``. ``reason`` says why; ``running`` holds the items at work; ``computed``
    counts what they have computed so far (of a commit: what was counted of its item).
    """

    kind: str
    item: Any = None
    commit: Commit | None = None
    reason: str = ""
    running: tuple[str, ...] = ()
    actors: int = 0
    computed: int = 0


@dataclass(frozen=True)
class Task:
    """An item, and the generation of its commit (repairs count up)."""

    item: Any
    generation: int = 0
