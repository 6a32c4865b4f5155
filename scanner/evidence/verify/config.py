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
    """What to generate from, how, and what to compare with; a field's docstring is its help."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    top: int = 100
    """How many captions, the first of the ranking."""
    captions: str | None = None
    """Instead of the ranking, a file of captions: text with one a line, or csv, tsv, jsonl or
    parquet with a column caption_id or captions; captions that the run does not have too."""
    by: str | None = None
    """The signal that ranks, as in memscan rank."""
    where: str = "true"
    """A SQL predicate on the view ranked, as in memscan rank."""
    out: str | None = None
    """Where pictures and measures are kept; RUN/verdicts/ID (with --mitigate RUN/mitigated/ID) by
    default, where ID names captions and settings. The verdicts themselves always join the run;
    a report shows pictures kept elsewhere only with its --input-root."""
    seeds: int = 4
    """Pictures a caption, each from its own initial noise; at least 2."""
    steps: int | None = None
    """Steps of the DDIM schedule; the run's own by default."""
    guidance: float | None = None
    """Guidance scale, above 1; the run's own by default."""
    images: str | None = None
    """Where a sample's training image is, a template over columns of samples such as
    s3://bucket/{key}.jpg; by default a parquet's image column, or the tar it came from."""
    image_column: str | None = None
    """The parquet column with the image; found by its name (image, jpg, png …)."""
    input_root: tuple[str, ...] = ()
    """Also take training images from files below this directory or URL, beside those below what
    the scan's --captions named; repeat it, or list several."""
    references: int = 4
    """At most so many different training images of a caption are compared."""
    embedding: str | None = None
    """A copy-detection embedding, such as SSCD: a TorchScript (.pt) or ONNX (.onnx) file or URL."""
    embedding_sha256: str | None = None
    """The SHA-256 of that file, without which it is not run."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """Where a verdict begins."""
    mitigate: bool = False
    """Generate with mitigation on, and tell how the verdicts change. They join the run as the view
    mitigated; those in verdicts stay as they are."""
    mitigation: Mitigation = field(default_factory=Mitigation)
    """How strong --mitigate is."""
    model: str | None = None
    """Another model to generate with, named as for memscan scan; the run's own by default."""
    revision: str | None = None
    """That model's revision on the hub; the run's own by default."""
    dtype: str = "run"
    """float32, float16, bfloat16, auto (float16 on cuda and float32 on the cpu), or run: as the
    scan was asked."""
    device: str = "auto"
    """cuda or cpu; cuda where there is one."""
    batch_size: int | None = None
    """Pictures made at once, 16 by default; halved when the device runs out of memory."""
    single_writer: bool = False
    """Allow a store that cannot create a file only if it is absent; one command at a time then."""
    json: bool = False
    """Print the result as JSON."""
    config: Path | None = None
    """A TOML file with the same names; flags win."""

    def check(self) -> None:
        """Raises UsageError for what no default can mend."""
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
