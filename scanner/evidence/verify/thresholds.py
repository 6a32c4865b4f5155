"""Where a verdict begins."""

from dataclasses import dataclass, fields

from scanner.errors import UsageError


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of the verdicts. ``python -m jobs.studies.verdicts`` fitted the defaults on the
    first half of the testbed (guidance 2, 20 steps, 4 seeds; see the README beside this file).
    Pictures of another model or size agree otherwise: fit them to labels of your own."""

    agreement: float = 0.9866
    """Multi-scale SSIM among the seeds' pictures from which on they are one picture."""
    likeness: float = 0.6348
    """SSIM to a training image from which on a picture is its copy."""
    part: float = 1.0
    """Share of a picture's cells that agree across seeds from which on a part is a copy."""
    same_picture: float = 0.1044
    """RMSE up to which the mean pictures of two captions are the same picture."""
    cosine: float | None = None
    """Cosine of the copy-detection embedding from which on a picture is a copy; by default it is
    measured and decides nothing."""

    def check(self) -> None:
        """Raises UsageError for what is no share, likeness or distance."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 <= value <= 1:
                name = field.name.replace("_", "-")
                raise UsageError(f"--{name} {value}: must be between 0 and 1")
