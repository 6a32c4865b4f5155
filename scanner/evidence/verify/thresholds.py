"""Thresholds of verdicts."""

from dataclasses import dataclass, fields

from scanner.errors import UsageError


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of verdicts. ``python -m jobs.studies.verdict_thresholds`` fitted the defaults on
    the first half of the testbed (guidance 2, 20 steps, 4 seeds; see jobs/README.md). Refit them on
    your own labels for another model or image size."""

    agreement: float = 0.9866
    """Threshold of agreement: minimum multi-scale SSIM between images of different seeds (mean over
    pairs) for the seeds to agree."""
    likeness: float = 0.6348
    """Threshold of likeness: minimum SSIM to a training image to count as its copy."""
    part: float = 1.0
    """Threshold of a partial copy: minimum share of the textured cells of the image (8 x 8 grid)
    that must agree across seeds; 1 requires all of them."""
    same_picture: float = 0.1044
    """Threshold of the same image: maximum RMSE between the mean images of two captions."""
    cosine: float | None = None
    """Threshold of the copy-detection embedding: minimum cosine similarity to count as a copy; by
    default the similarity is measured but not used."""
    source: float | None = None
    """With --index: threshold: minimum cosine similarity (mean over seeds) to a
    training image to count as a copy of it; by default 0.75 with --embedding (what the authors of
    SSCD use), and 0.955 for the built-in descriptor (fitted by
    ``python -m jobs.studies.image_sources``)."""

    def check(self) -> None:
        """Raise UsageError for values outside 0 to 1."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 <= value <= 1:
                name = field.name.replace("_", "-")
                raise UsageError(f"--{name} {value}: must be between 0 and 1")
