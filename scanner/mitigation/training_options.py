"""Options of a fine-tuning run, importable without torch for --help."""

from dataclasses import dataclass

from scanner.errors import UsageError


@dataclass(frozen=True)
class TrainingOptions:
    """Training of the U-Net or transformer; text encoders and VAE are frozen."""

    steps: int = 1000
    """Number of optimizer steps."""
    batch: int = 8
    """Samples per step."""
    rate: float = 1e-5
    """Learning rate of AdamW, with linear warm-up over the first 5 % of the steps."""
    caption_dropout: float = 0.1
    """Share of samples trained with the empty caption, for classifier-free guidance."""
    seed: int = 0
    """Random seed for data order, caption dropout, noise and timesteps. Runs with the same seed
    train on the same batches, with or without --guard."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.rate <= 0:
            raise UsageError("--steps, --batch and --rate must be positive")
        if not 0 <= self.caption_dropout < 1:
            raise UsageError(
                f"--caption-dropout {self.caption_dropout}: must be at least 0 and below 1"
            )
