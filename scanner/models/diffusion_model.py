"""The interface between scoring and a model family."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from scanner.models.conditioning import Conditioning
from scanner.models.tokens import Tokens, tokenize

NOISE_LEVELS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
)
"""Entries of a scheduler's configuration that affect scores."""


class DiffusionModel(ABC):
    """A U-Net with its text encoders and noise levels.

    Scores use DDIM with the model's own noise levels, regardless of its pipeline's scheduler, so a
    score depends only on the weights (scanner/signals/README.md).

    A family declares its components (``parts``, ``tokenizers``, and ``settings``: entries of
    model_index.json that affect scores, with their defaults), how it encodes captions, and its
    early layers. A family that is not a U-Net with cross-attention also overrides ``layers``,
    ``predict_noise``, ``alpha`` and ``denoise_step``.
    """

    family: ClassVar[str]
    parts: ClassVar[dict[str, Any]]
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer",)
    settings: ClassVar[dict[str, Any]] = {}

    layers: list[str]
    """Names of the cross-attention modules in execution order."""
    entropy_layer: int
    early_layers: tuple[int, ...]
    """Consecutive numbers of layers, the first of which is 0."""
    map_layers: tuple[int, ...] = (0, 1)

    def __init__(
        self,
        unet: torch.nn.Module,
        tokenizer: Any,
        scheduler: DDIMScheduler,
        weights: str,
        pixels_per_latent: int,
    ) -> None:
        self.unet = unet.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.scheduler = scheduler
        self.weights = weights
        self.pixels_per_latent = pixels_per_latent
        self.layers = cross_attention_layers(unet)

    def to(self, device: str) -> Self:
        """Move the model to a device, in place."""
        for name in self.parts:
            getattr(self, name).to(device)
        return self

    @property
    @abstractmethod
    def anisotropy_weights(self) -> tuple[float, float]:
        """Weights (norm, cosine) of the sum in :func:`scanner.signals.noise.anisotropy`."""

    @abstractmethod
    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        """Return the text conditioning of each caption.

        ``latent_shape``: of the generated image, for families conditioned on its size; defaults to
        the model's own.
        """

    def encode_empty(self, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        """Return the conditioning of the empty caption, as a batch of one."""
        return self.encode(self.tokenize([""]), latent_shape)

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def latent_shape(
        self, height: int | None = None, width: int | None = None, side: float = 1
    ) -> tuple[int, ...]:
        """Return the latent shape (C, h, w) of an image size in pixels, by default the model's own
        times ``side``."""
        size, config = self.unet.config.sample_size, self.unet.config
        own = (size, size) if isinstance(size, int) else tuple(size)
        return (
            config.in_channels,
            height // self.pixels_per_latent if height else round(side * own[0]),
            width // self.pixels_per_latent if width else round(side * own[1]),
        )

    def tokenize(self, captions: list[str]) -> Tokens:
        return tokenize(self.tokenizer, captions)

    def timesteps(self, steps: int) -> Tensor:
        """Return the timesteps of the DDIM schedule, noisiest first."""
        self.scheduler.set_timesteps(steps)
        return self.scheduler.timesteps

    def predict_noise(self, x_BCHW: Tensor, timestep: int, text: Conditioning) -> Tensor:
        """Return ε (B, C, H, W) in float32 for float32 latents, for any prediction type."""
        prediction_BCHW = self.unet(
            x_BCHW.to(self.device, self.dtype),
            torch.full((1,), timestep, device=self.device),  # an int would be copied to the device
            text.hidden_BLC,
            added_cond_kwargs=text.added or None,
            return_dict=False,
        )[0]
        return self.as_noise(prediction_BCHW, x_BCHW, timestep)

    def as_noise(self, prediction_BCHW: Tensor, x_BCHW: Tensor, timestep: int) -> Tensor:
        """Convert the U-Net's prediction for latents x to ε in float32, for any prediction type."""
        prediction = prediction_BCHW.float()
        if self.scheduler.config.prediction_type == "epsilon":
            return prediction
        alpha = self.scheduler.alphas_cumprod[timestep]
        return alpha.sqrt() * prediction + (1 - alpha).sqrt() * x_BCHW.to(prediction.device)

    def alpha(self, timestep: int) -> float:
        """Return ᾱ_t, the share of signal variance left at a timestep."""
        return float(self.scheduler.alphas_cumprod[timestep])

    def denoise_step(self, x_BCHW: Tensor, noise_BCHW: Tensor, timestep: int, steps: int) -> Tensor:
        """Return the latents after one DDIM step (Song et al. 2021, eq. 12, η = 0)."""
        next_timestep = timestep - self.scheduler.config.num_train_timesteps // steps
        now = self.alpha(timestep)
        # set_alpha_to_one=False: the last step ends at the level of training step 0.
        later = self.alpha(max(next_timestep, 0))
        clean = (x_BCHW - (1 - now) ** 0.5 * noise_BCHW) / now**0.5
        return later**0.5 * clean + (1 - later) ** 0.5 * noise_BCHW


def score_scheduler(config: dict[str, Any]) -> DDIMScheduler:
    """Return DDIM with the noise levels and prediction type of a scheduler configuration."""
    return DDIMScheduler(
        **{name: config[name] for name in NOISE_LEVELS if config.get(name) is not None},
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


def cross_attention_layers(unet: torch.nn.Module) -> list[str]:
    """Return the names of the cross-attention modules in execution order.

    The mid block is registered last but runs between the down and the up blocks.
    """
    names = [name for name, _ in unet.named_modules() if name.endswith(".attn2")]
    order = ("down_blocks", "mid_block", "up_blocks")
    return sorted(names, key=lambda name: order.index(name.split(".")[0]))
