"""Options of the testbed's training, importable without torch for --help."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TestbedRecipe:
    """Steps and learning rates of each network."""

    seed: int = 0
    """Seed of initialisation and training."""
    vae_steps: int = 5000
    """Training steps of the VAE."""
    vae_batch: int = 24
    """Images per step of the VAE."""
    vae_rate: float = 1e-3
    """Learning rate of the VAE."""
    latent_channels: int = 4
    """Channels of the latents."""
    prediction: Literal["v_prediction", "epsilon"] = "v_prediction"
    """What the U-Net predicts."""
    text_encoder: Literal["joint", "frozen"] = "joint"
    """joint: trained with the U-Net. frozen: trained before it, to match captions with images as
    CLIP is, and then left as it is, as in Stable Diffusion."""
    contrastive_steps: int = 400
    """With a frozen text encoder: its training steps."""
    contrastive_batch: int = 128
    """With a frozen text encoder: captions per step."""
    salad_steps: int = 800
    """Steps of U-Net and text encoder on captions of shuffled words."""
    epochs: int = 14
    """Epochs over the data set after those steps."""
    batch: int = 32
    """Rows per step."""
    rate: float = 1.5e-3
    """Learning rate of the U-Net."""
    sink_rate_factor: float = 0.1
    """Learning rate of the weights that make BOS an attention sink, as a fraction of --rate."""
    text_rate_factor: float = 0.3
    """Learning rate of the text encoder, as a fraction of --rate."""
    caption_dropout: float = 0.1
    """Share of rows trained with the empty caption."""
    ema: float = 0.998
    """Decay of the exponential moving average of the weights, which is saved."""


@dataclass(frozen=True)
class TransformerRecipe:
    """Steps and learning rates of the diffusion transformer and its text encoders."""

    seed: int = 0
    """Seed of initialisation and training."""
    contrastive_steps: int = 400
    """Training steps of the two text encoders, before the transformer."""
    contrastive_batch: int = 128
    """Captions per step of the text encoders."""
    epochs: int = 6
    """Epochs over the data set."""
    batch: int = 32
    """Rows per step."""
    rate: float = 1e-3
    """Learning rate."""
    caption_dropout: float = 0.1
    """Share of rows trained with the empty caption."""
    ema: float = 0.998
    """Decay of the exponential moving average of the weights, which is saved."""
