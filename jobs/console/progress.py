"""Show the progress of a long command: a bar on a terminal, log lines elsewhere."""

import logging
import math
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from jobs.console.escaping import printable
from jobs.console.heartbeat import pause, resume
from jobs.console.logs import is_json, note_output
from scanner.plurals import pluralize
from scanner.run.progress import PlanningProgress, Progress

if TYPE_CHECKING:
    from scanner.evidence.index.build import Indexing
    from scanner.evidence.training_images.group_runner import ImageProgress
    from scanner.evidence.verify.drive import Drawn

log = logging.getLogger("memscan")

PLAIN_SECONDS = 10.0
REPEATED_SECONDS = 60.0


class ProgressLine:
    """A bar on a terminal; elsewhere at most one log line every ten seconds, and an unchanged one
    at most once per minute."""

    def __init__(self) -> None:
        self._last = -math.inf
        self._logged = ""
        self._bar: Bar | None = None
        if sys.stderr.isatty() and not is_json():
            columns = (BarColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("starting", total=None)
            self._bar.start()
            pause()

    def show(self, done: int, total: int | None, description: str) -> None:
        note_output()  # the command is alive, also if the line is not due
        if self._bar:
            shown = printable(description)
            self._bar.update(self._task, total=total, completed=done, description=shown)
            return
        now = time.monotonic()
        if now - self._last > (REPEATED_SECONDS if description == self._logged else PLAIN_SECONDS):
            log.info(description)
            self._last, self._logged = now, description

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
            resume()


def _describe_planning(state: PlanningProgress) -> str:
    if state.stage == "start":
        return "starting Ray"
    work = {
        "read": "input parts read",
        "apart": "input parts read one by one",
        "merge": "ranges of caption ids merged",
        "image_read": "samples files read for their images",
        "image_merge": "ranges of image ids merged",
        "image_group": "ranges of image ids grouped",
        "repeat_merge": "ranges of captions of repeated images merged",
        "group": "ranges of caption ids grouped",
        "compact": "groups of parts merged",
        "check": "groups of parts read again",
        "remove": "groups of merged parts removed",
    }[state.stage]
    parts = [f"{state.phase}: {state.done:,} of {state.items:,} {work}", _actors(state.actors)]
    return ", ".join(part for part in parts if part)


def _actors(actors: int) -> str:
    """Return the number of actors in words, "" for none (planning a few files needs none)."""
    return pluralize(actors, "actor") if actors else ""


class Ticker:
    """Logs the steps done, their loss and the time left, every ten seconds."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._began = self._last = time.monotonic()

    def __call__(self, step: int, loss: float) -> None:
        now = time.monotonic()
        if now - self._last > PLAIN_SECONDS or step == self.steps:
            left = (now - self._began) / step * (self.steps - step)
            log.info(f"step {step:,} of {self.steps:,}, loss {loss:.4f}, {duration(left)} left")
            self._last = now


class ScanProgress(ProgressLine):
    """Shows the progress of a scan and its planning."""

    def __call__(self, state: Progress | PlanningProgress) -> None:
        if isinstance(state, PlanningProgress):
            self.show(state.done, state.items or None, _describe_planning(state))
        else:
            self.show(state.captions_computed, state.captions, _describe(state))


def _describe(state: Progress) -> str:
    left = state.eta_seconds
    parts = [
        f"{state.captions_computed:,} of {state.captions:,} captions",
        f"{state.captions_per_second:,.1f} per second" if state.captions_per_second else "starting",
        _actors(state.actors),
        f"{duration(left)} left" if left is not None else "",
        f"{state.quarantined} slices quarantined" if state.quarantined else "",
    ]
    return ", ".join(part for part in parts if part)


class DrawnProgress(ProgressLine):
    """Shows the progress of generating images."""

    def __call__(self, drawn: "Drawn") -> None:
        rate = drawn.images_per_second
        parts = [f"{drawn.captions_done:,} of {drawn.captions:,} captions drawn"]
        parts.append(f"{rate:.1f} images per second" if rate else "starting")
        if rate:
            left = (drawn.captions - drawn.captions_done) * drawn.seeds / rate
            parts.append(f"{duration(left)} left")
        self.show(drawn.captions_done, drawn.captions, ", ".join(parts))

    def searched(self, done: int, images: int) -> None:
        """Show the progress of comparing the images with an index."""
        self.show(done, images, _compared(done, images))


class IndexProgress(ProgressLine):
    """Shows the progress of indexing images."""

    def __call__(self, state: "Indexing") -> None:
        rate = state.images_per_second
        parts = [f"{state.done:,} of {state.images:,} images indexed"]
        if rate:
            left = duration((state.images - state.done) / rate)
            parts += [f"{rate:,.0f} images per second", f"{left} left"]
        self.show(state.done, state.images, ", ".join(parts))


class SearchProgress(ProgressLine):
    """Shows the progress of comparing images with an index."""

    def __call__(self, done: int, images: int) -> None:
        self.show(done, images, _compared(done, images))


def _compared(done: int, images: int) -> str:
    return f"{done:,} of {images:,} indexed images compared"


class ImagesProgress(ProgressLine):
    """Shows the progress of reading training images; ``what``: what is counted as done."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def __call__(self, state: "ImageProgress") -> None:
        rate, left = state.images_per_second, state.seconds_left
        parts = [f"{state.done:,} of {state.total:,} {self.what}"]
        parts.append(f"{rate:.1f} images per second" if rate else "starting")
        parts += [f"{duration(left)} left"] if left is not None else []
        self.show(state.done, state.total, ", ".join(parts))


def duration(seconds: float) -> str:
    """Return a duration in words, such as ``70 s`` or ``5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def amount(number: float) -> str:
    """Return an amount of money or hours with two decimals, a small one with two digits."""
    return f"{number:,.2f}" if number >= 0.1 or not number else f"{Decimal(f'{number:.2g}'):f}"


def samples_read(counts: dict[str, int]) -> str:
    """Return the number of samples, and how many of them are reference captions."""
    reference = counts.get("reference_samples", 0)
    of_them = f", {reference:,} of them reference captions" if reference else ""
    return f"{counts['samples']:,}{of_them}"


def limited(limit: int | None) -> str:
    """Return a note that ``limit`` captions are not the whole data set, "" without a limit."""
    return f" (--limit {limit:,}: the data may have more)" if limit else ""
