"""Options of a fine-tuning; apart, so that they show without loading torch."""

from dataclasses import dataclass

from scanner.errors import UsageError


@dataclass(frozen=True)
class Tuning:
    """How long and how fast the U-Net learns; the text encoder and the VAE stay as they are."""

    steps: int = 1000
    """Steps of the optimizer."""
    batch: int = 8
    """Samples a step."""
    rate: float = 1e-5
    """Learning rate of AdamW, after a warm-up over a twentieth of the steps."""
    caption_dropout: float = 0.1
    """Share of samples trained with the empty caption, as guidance needs it."""
    seed: int = 0
    """Seed of the order, the noise and the timesteps: the same with and without a guard."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.rate <= 0:
            raise UsageError("steps, batch and rate have to be positive")
        if not 0 <= self.caption_dropout < 1:
            raise UsageError(f"caption_dropout {self.caption_dropout}: from 0 to below 1")
