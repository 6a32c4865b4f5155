"""The recipe of the testbed's training; apart, so that its options show without loading torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How long and how fast each part learns."""

    seed: int = 0
    """Seed of the first weights and of the training."""
    vae_steps: int = 5000
    """Steps of the VAE."""
    vae_batch: int = 24
    """Images a step of the VAE."""
    vae_rate: float = 1e-3
    """Learning rate of the VAE."""
    salad_steps: int = 800
    """Steps of U-Net and text encoder under captions of shuffled words."""
    epochs: int = 14
    """Passes over the rows of the data set after that."""
    batch: int = 32
    """Rows a step."""
    rate: float = 1.5e-3
    """Learning rate of the U-Net."""
    sink_rate_factor: float = 0.1
    """Share of that rate for what makes the beginning token a sink."""
    text_rate_factor: float = 0.3
    """Share of that rate for the text encoder."""
    caption_dropout: float = 0.1
    """Share of rows trained with the empty caption."""
    ema: float = 0.998
    """Decay of the weights' running average, which is what ships."""
