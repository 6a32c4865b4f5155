"""Options of the commands that read the training images of chosen captions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scanner.cluster.connection.options import ActorOptions
from scanner.errors import UsageError
from scanner.evidence.training_images.place import ImagePlace


@dataclass(frozen=True, kw_only=True)
class SampleOptions(ActorOptions, ImagePlace):
    """Which samples to read, and where their images are; a field's docstring is its help."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    where: str | None = None
    """SQL predicate on the view ranked that chooses captions, for example "probability >= 0.5" or,
    for all, true; their samples are read."""
    top: int | None = None
    """Read the samples of at most this many of the chosen captions, highest-ranked first; by
    default of all."""
    by: str | None = None
    """Signal to rank by, as in memscan rank; for --top."""
    calibration: str | None = None
    """Calibration that provides the column probability: a file or URL written by memscan calibrate,
    or testbed."""
    input_root: tuple[str, ...] = ()
    """Also read images below this directory or URL, in addition to those below the scan's
    --captions; repeat the option, or list several."""
    single_writer: bool = False
    """Allow a store without create-if-absent (conditional writes); then run only one command at a
    time on this run."""
    json: bool = False
    """Print the result as JSON."""
    config: Path | None = None
    """TOML file that sets these options by name (image_column or image-column); command-line
    options take precedence."""

    def check_samples(self) -> None:
        """Raise UsageError for values out of range."""
        if self.top is not None and self.top < 1:
            raise UsageError(f"--top {self.top}: must be at least 1")
        self.check_actors()
        self.check_images()
