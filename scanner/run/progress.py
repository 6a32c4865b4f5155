"""Progress of a driver, for people and ``memscan status``; no result depends on it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from scanner.run.directory import Run
from scanner.run.json_files import ProgressRecord
from scanner.run.records import encode, read_json

REMEMBERED = 100


@dataclass
class Progress:
    """Counts of slices and captions; ``done_before`` were committed by earlier drivers.

    ``captions_done``: in committed slices; ``running``: captions computed so far, by running slice.

    ``started``: when the first actor of this driver had loaded its model, 0 before.
    ``rejects``: captions of committed slices that were rejected, by reason. Slices scored again
    count again, and those that a killed driver committed last may be missing.
    ``events``: the last ``REMEMBERED`` lines on failures and resumptions, including those of
    earlier drivers of the run. ``out_of_service``: devices and nodes that this driver does not use
    any more, and why. ``placed``: actors that hold a device, ready or not. ``device_seconds``: how
    long actors of this driver and earlier ones have held a device, times ``device_share``: the part
    of a GPU that an actor takes, 1 on the CPU (``device_kind``: "GPU" or "CPU").
    """

    slices: int
    captions: int
    committed: int = 0
    captions_done: int = 0
    done_before: int = 0
    quarantined: int = 0
    running: dict[str, int] = field(default_factory=dict)
    actors: int = 0
    started: float = 0.0
    updated: float = 0.0
    rejects: dict[str, int] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    out_of_service: tuple[str, ...] = ()
    placed: int = 0
    device_seconds: float = 0.0
    device_share: float = 1.0
    device_kind: str = "CPU"

    @property
    def device_hours(self) -> float:
        return self.device_seconds / 3600

    @property
    def captions_per_second(self) -> float:
        """Speed since the first actor of this driver started."""
        seconds = self.updated - self.started
        working = self.started and seconds > 0
        return max(0, self.captions_computed - self.done_before) / seconds if working else 0.0

    @property
    def captions_computed(self) -> int:
        return self.captions_done + sum(self.running.values())

    @property
    def eta_seconds(self) -> float | None:
        rate = self.captions_per_second
        return (self.captions - self.captions_computed) / rate if rate > 0 else None

    def remember(self, line: str) -> None:
        """Add a line to the events, with the time."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.events = [*self.events, f"{now} {line}"][-REMEMBERED:]

    def stop(self, run: Run) -> None:
        """Save that the driver has stopped before its work was done."""
        self.running, self.actors, self.placed = {}, 0, 0
        self.save(run, stopped=True)

    def save(self, run: Run, stopped: bool = False) -> None:
        self.updated = time.time()
        record = asdict(self) | {"captions_per_second": self.captions_per_second}
        run.store.write("progress.json", encode(record | ({"updated": 0.0} if stopped else {})))


def hours_unit(device_kind: str) -> str:
    """Return the unit of hours of devices: on the CPU each actor counts as one."""
    return "GPU-hours" if device_kind == "GPU" else "actor-hours"


@dataclass
class PlanningProgress:
    """Items of a stage of planning: ``start`` (of Ray), ``read`` (units of input files), ``apart``
    (input files of failed units), ``merge`` (ranges of caption ids, for each level of merging),
    ``image_read`` (samples files), ``image_merge`` and ``image_group`` (ranges of image ids),
    ``repeat_merge`` and ``group`` (ranges of caption ids); or of finishing: ``compact`` (groups of
    parts), ``check`` (groups of parts), ``remove`` (groups of merged parts)."""

    stage: str
    items: int
    done: int = 0
    actors: int = 0

    @property
    def phase(self) -> str:
        return "finishing" if self.stage in ("compact", "check", "remove") else "planning"


# Called with the progress of a scan, at least every second.
Watch = Callable[[Progress | PlanningProgress], None]


def read_progress(run: Run) -> dict[str, Any]:
    """Return progress.json as the last driver left it, {} if it is missing."""
    if not run.store.exists("progress.json"):
        return {}
    return read_json(run.store, "progress.json", ProgressRecord)
