"""The options of verify."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from scanner.cluster.options import ActorOptions
from scanner.errors import UsageError
from scanner.evidence.verify.image_path import names_of
from scanner.evidence.verify.mitigated import Mitigation
from scanner.evidence.verify.thresholds import Thresholds


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(ActorOptions):
    """Options of generating and comparing images; a field's docstring is its help."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    top: int = 100
    """Number of captions to verify, from the top of the ranking."""
    captions: str | None = None
    """File of captions to verify instead of the ranking: text with one per line, or csv, tsv,
    jsonl or parquet with a column caption_id or captions. Captions need not be in the run."""
    by: str | None = None
    """Signal to rank by, as in memscan rank."""
    where: str = "true"
    """SQL predicate on the view ranked, as in memscan rank."""
    out: str | None = None
    """Where pictures and measures are kept; RUN/verdicts/ID (with --mitigate RUN/mitigated/ID) by
    default, where ID names captions and settings. The verdicts themselves always join the run;
    a report shows pictures kept elsewhere only with its --input-root."""
    seeds: int = 4
    """Number of images per caption, each from a different initial noise; at least 2."""
    steps: int | None = None
    """Steps of the DDIM schedule; by default the run's."""
    guidance: float | None = None
    """Guidance scale, above 1; by default the run's."""
    images: str | None = None
    """Where a sample's training image is, a template over columns of samples such as
    s3://bucket/{key}.jpg; by default a parquet's image column, or the tar it came from."""
    image_column: str | None = None
    """The parquet column with the image; found by its name (image, jpg, png …)."""
    input_root: tuple[str, ...] = ()
    """Directory or URL below which to read training images, in addition to the locations given to
    the scan's --captions; repeat the flag or list several."""
    references: int = 4
    """Maximum number of different training images to compare per caption."""
    embedding: str | None = None
    """A copy-detection embedding, such as SSCD: a TorchScript (.pt) or ONNX (.onnx) file or URL."""
    embedding_sha256: str | None = None
    """The SHA-256 of that file, without which it is not run."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """Thresholds of the verdicts."""
    mitigate: bool = False
    """Generate with mitigation, and report how the verdicts change. The new verdicts are added to
    the run as the view mitigated; the view verdicts is unchanged."""
    mitigation: Mitigation = field(default_factory=Mitigation)
    """Strength of --mitigate."""
    model: str | None = None
    """Model to generate with, in any form that memscan scan takes; by default the run's."""
    revision: str | None = None
    """Revision of that model on the hub; by default the run's."""
    dtype: str = "run"
    """float32, float16, bfloat16, auto (float16 on cuda, float32 on the cpu), or run (as given to
    the scan)."""
    device: str = "auto"
    """cuda, cpu, or auto (cuda if available)."""
    batch_size: int | None = None
    """Images generated at once, 16 by default; halved when the device runs out of memory."""
    single_writer: bool = False
    """Allow a store that cannot create a file only if it is absent; one command at a time then."""
    json: bool = False
    """Print the result as JSON."""
    config: Path | None = None
    """A TOML file with the same names; flags win."""

    def check(self) -> None:
        """Raise UsageError for values out of range and options that conflict."""
        if self.seeds < 2:
            raise UsageError(f"--seeds {self.seeds}: agreement across seeds needs at least 2")
        for flag, value in (
            ("--top", self.top),
            ("--steps", self.steps),
            ("--references", self.references),
            ("--batch-size", self.batch_size),
        ):
            if value is not None and value < 1:
                raise UsageError(f"{flag} {value}: must be at least 1")
        self.check_actors()
        if self.guidance is not None and not 1 < self.guidance < 1000:
            raise UsageError(f"--guidance {self.guidance}: must be above 1 (and below 1000)")
        if self.captions and (self.by or self.where != "true"):
            raise UsageError("--captions names the captions; leave out --by and --where")
        if self.revision and not self.model:
            raise UsageError("--revision is of --model; name one")
        if (self.embedding is None) != (self.embedding_sha256 is None):
            raise UsageError(
                "--embedding and --embedding-sha256 go together: the hash of the file that you "
                "trust pins what is run"
            )
        if self.images:
            names_of(self.images)
        self.thresholds.check()
        self.mitigation.check(self.mitigate)
