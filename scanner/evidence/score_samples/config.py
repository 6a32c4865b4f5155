"""The options of score-samples."""

from dataclasses import dataclass

from scanner.errors import UsageError
from scanner.evidence.training_images.options import SampleOptions
from scanner.models.device.device_option import check_device

LEVELS = (100.0, 300.0, 500.0, 700.0)


@dataclass(frozen=True, kw_only=True)
class ScoreSamplesConfig(SampleOptions):
    """Options of scoring samples; a field's docstring is its help."""

    levels: tuple[float, ...] = LEVELS
    """Noise levels: timesteps of the model's 1000, or 1000 σ for flow matching."""
    noises: int = 4
    """Noises per level, the same for every image."""
    height: int | None = None
    """Height in pixels to which images are scaled and cropped; the model's own by default."""
    width: int | None = None
    """Width in pixels to which images are scaled and cropped; the model's own by default."""
    model: str | None = None
    """Model to score with, as for memscan scan; by default the run's."""
    revision: str | None = None
    """Revision of that model on the hub; by default the run's."""
    dtype: str = "run"
    """float32, float16, bfloat16, auto (float16 on cuda and float32 on the cpu), or run (as in the
    scan). The VAE always computes in float32."""
    device: str = "auto"
    """cuda, cpu or auto (cuda if available)."""
    batch_size: int | None = None
    """Forwards per batch, 32 by default; halved if the device runs out of memory."""

    def check(self) -> None:
        """Raise UsageError for values out of range and options that conflict."""
        self.check_samples()
        check_device(self.device)
        if self.where is None:
            raise UsageError(
                "--where: name the captions whose samples to score, for example "
                '"probability >= 0.5" with --calibration, or all with true'
            )
        for flag, value in (
            ("--noises", self.noises),
            ("--height", self.height),
            ("--width", self.width),
            ("--batch-size", self.batch_size),
        ):
            if value is not None and value < 1:
                raise UsageError(f"{flag} {value}: must be at least 1")
        if not self.levels:
            raise UsageError("--levels: name at least one noise level")
        if self.revision and not self.model:
            raise UsageError("--revision is of --model; name one")
