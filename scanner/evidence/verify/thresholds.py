"""Where a verdict begins."""

from dataclasses import dataclass, fields

from scanner.errors import UsageError


@dataclass(frozen=True)
class Thresholds:
    """Where a verdict begins; the defaults are those of scanner.evidence.verify.fitting on 67
    captions of the testbed's first half (guidance 2, 20 steps, 4 seeds), rounded. Pictures of
    another model or size agree otherwise: ``python -m jobs.study_verdicts`` fits them to labels."""

    agreement: float = 0.93
    """Multi-scale SSIM among the seeds' pictures from which on they are one picture."""
    likeness: float = 0.64
    """SSIM to a training image from which on a picture is its copy."""
    part: float = 0.95
    """Share of a picture's cells that agree across seeds from which on a part is a copy."""
    same_picture: float = 0.12
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
