"""The options of verify."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from scanner.cluster.connection.options import ActorOptions
from scanner.errors import UsageError
from scanner.evidence.embedding_file import embedding_of
from scanner.evidence.training_images.place import ImagePlace
from scanner.evidence.verify.mitigated import Mitigation
from scanner.evidence.verify.thresholds import Thresholds
from scanner.mitigation.adversary.options import AdversaryOptions
from scanner.models.device.device_option import check_device


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(ActorOptions, ImagePlace):
    """Options of generating and comparing images; a field's docstring is its help."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    top: int = 100
    """Number of top-ranked captions to verify."""
    captions: str | None = None
    """File of captions to verify instead of the ranking: text with one per line, or csv, tsv, jsonl
    or parquet with a column caption_id or caption. Captions outside the run are allowed."""
    by: str | None = None
    """Signal to rank by, as in memscan rank."""
    where: str = "true"
    """SQL predicate on the view ranked, as in memscan rank."""
    out: str | None = None
    """Directory or URL for images and measurements; by default RUN/verdicts/ID (with --mitigate
    RUN/mitigated/ID), where ID is a hash of captions and settings. Verdicts are always stored in
    the run; a report shows images stored elsewhere only with --input-root."""
    seeds: int = 4
    """Images per caption, one initial noise each; at least 2."""
    steps: int | None = None
    """Steps of the schedule (DDIM; Euler for flow matching); by default the run's."""
    guidance: float | None = None
    """Guidance scale, above 1; by default the run's."""
    input_root: tuple[str, ...] = ()
    """Also read training images below this directory or URL, in addition to those below the scan's
    --captions; repeat the option, or list several."""
    references: int = 4
    """Maximum number of distinct training images to compare per caption."""
    embedding: str | None = None
    """A copy-detection embedding, such as SSCD: a TorchScript (.pt) or ONNX (.onnx) file or URL."""
    embedding_sha256: str | None = None
    """SHA-256 of the embedding file; required with --embedding."""
    index: str | None = None
    """Index of the training images made by memscan index-images (its directory or URL): find the
    nearest images of the whole training set, also those of other captions. An index made with an
    embedding needs the same --embedding."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """Thresholds of the verdicts."""
    mitigate: bool = False
    """Generate with mitigation and report how the verdicts change. Stored as the view mitigated;
    the view verdicts is unchanged."""
    mitigation: Mitigation = field(default_factory=Mitigation)
    """Method of mitigation and its settings."""
    adversarial: bool = False
    """Also search near each caption (its embedding, and words in place of its own) for a start that
    reproduces the training image, with the same seeds and mitigation; its verdict is
    adversarial_verdict. Takes several times as long."""
    adversary: AdversaryOptions = field(default_factory=AdversaryOptions)
    """How the adversary searches."""
    model: str | None = None
    """Model to generate with, as for memscan scan; by default the run's."""
    revision: str | None = None
    """Revision of that model on the hub; by default the run's."""
    dtype: str = "run"
    """float32, float16, bfloat16, auto (float16 on cuda and float32 on the cpu), or run (as in the
    scan)."""
    device: str = "auto"
    """cuda, cpu or auto (cuda if available)."""
    batch_size: int | None = None
    """Images per batch, 16 by default; halved if the device runs out of memory."""
    single_writer: bool = False
    """Allow a store without create-if-absent (conditional writes); then run only one verify at a
    time."""
    json: bool = False
    """Print the result as JSON."""
    config: Path | None = None
    """TOML file that sets these options by name (batch_size or batch-size); command-line options
    take precedence."""

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
        check_device(self.device)
        if self.guidance is not None and not 1 < self.guidance < 1000:
            raise UsageError(f"--guidance {self.guidance}: must be above 1 (and below 1000)")
        if self.captions and (self.by or self.where != "true"):
            raise UsageError("--captions names the captions; leave out --by and --where")
        if self.revision and not self.model:
            raise UsageError("--revision is of --model; name one")
        embedding_of(self.embedding, self.embedding_sha256)
        if self.thresholds.source is not None and not self.index:
            raise UsageError("--source is a threshold of --index; name one, or leave it out")
        self.check_images()
        self.thresholds.check()
        self.mitigation.check(self.mitigate)
        self.adversary.check(self.adversarial)
