"""What an executor is given to do, and the events that it reports."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from scanner.cluster.work import Item
from scanner.run import Commit

ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True)
class Task(Generic[ItemT]):
    """An item, and the generation of its commit (repairs count up)."""

    item: ItemT
    generation: int = 0


# A device: Ray's id of its node, and its name there.
Place = tuple[str, str]


@dataclass(frozen=True)
class Location:
    """Where an item ran. node: Ray's id of the node, "" in the command's own process; host: the
    machine's name; device: the accelerators there by id, such as ``GPU 0``, or ``cpu``.
    environment: versions and the device's model, as far as the work says."""

    node: str = ""
    host: str = ""
    device: str = "cpu"
    environment: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def place(self) -> Place:
        return self.node, self.device

    @property
    def name(self) -> str:
        """The device's name for people."""
        return f"{self.device} of {self.host}"

    def fields(self) -> dict[str, str]:
        """Return node and device, as far as known, for the log."""
        return {"node": self.host, "device": self.device} if self.host else {}


NOWHERE = Location()


@dataclass(frozen=True)
class Started(Generic[ItemT]):
    """Execution begins; ``items`` have no commit yet. The first event, and always sent."""

    items: tuple[ItemT, ...]
    in_process: bool = False


@dataclass(frozen=True)
class Committed(Generic[ItemT]):
    """An item is done."""

    item: ItemT
    commit: Commit


@dataclass(frozen=True)
class Requeued(Generic[ItemT]):
    """An item failed and will be tried again; cause: see :mod:`scanner.cluster.failures`."""

    item: ItemT
    reason: str
    location: Location = NOWHERE
    cause: str = "error"


@dataclass(frozen=True)
class Quarantined(Generic[ItemT]):
    """An item failed for the last time and is given up; traceback: of that failure."""

    item: ItemT
    reason: str
    location: Location = NOWHERE
    traceback: str = ""


@dataclass(frozen=True)
class Notice:
    """Something about the execution as a whole that people should know. cause: of an actor that
    will be replaced, with its location."""

    message: str
    cause: str = ""
    location: Location = NOWHERE


@dataclass(frozen=True)
class Tick:
    """What is running: how much of each item is computed, by id, and on how many actors.
    out_of_service: devices and nodes that are not used any more, and why. placed: actors that hold
    a device, also while they load a model."""

    running: dict[str, int] = field(default_factory=dict)
    actors: int = 0
    out_of_service: tuple[str, ...] = ()
    placed: int = 0


Event = Started[ItemT] | Committed[ItemT] | Requeued[ItemT] | Quarantined[ItemT] | Notice | Tick
