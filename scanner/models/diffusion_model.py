"""What scoring needs of a model, whatever its family."""

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
"""What a scheduler's configuration decides of a score."""


class DiffusionModel(ABC):
    """A U-Net, its text side and its noise levels.

    Scores use DDIM with the model's own noise levels, whatever scheduler its pipeline brings,
    so that a score depends on the weights alone (signals.md, notation).

    A family says what it is made of (``parts``, ``tokenizers``, and ``settings``: entries of
    model_index.json that decide a score, with their defaults), how it encodes captions, and which
    layers are its early ones. One that denoises otherwise than a U-Net with cross-attention does
    also overrides ``layers``, ``predict_noise``, ``alpha`` and ``denoise_step``.
    """

    family: ClassVar[str]
    parts: ClassVar[dict[str, Any]]
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer",)
    settings: ClassVar[dict[str, Any]] = {}

    layers: list[str]
    """Names of the cross-attentions in the order in which they run."""
    entropy_layer: int
    early_layers: tuple[int, ...]
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
        """(norm, cosine) of the weighted sum (signals.md, anisotropy)."""

    @abstractmethod
    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        """What the U-Net is told of each caption.

        ``latent_shape``: of the picture that is imagined, for families whose U-Net is told its
        size; the model's own by default.
        """

    def encode_empty(self, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        """What it is told where there is no caption: a batch of one."""
        return self.encode(self.tokenize([""]), latent_shape)

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        """(C, h, w) of the latents, the model's own size by default; height and width in pixels."""
        size, config = self.unet.config.sample_size, self.unet.config
        own = (size, size) if isinstance(size, int) else tuple(size)
        return (
            config.in_channels,
            height // self.pixels_per_latent if height else own[0],
            width // self.pixels_per_latent if width else own[1],
        )

    def tokenize(self, captions: list[str]) -> Tokens:
        return tokenize(self.tokenizer, captions)

    def timesteps(self, steps: int) -> Tensor:
        """The DDIM schedule, the noisiest first."""
        self.scheduler.set_timesteps(steps)
        return self.scheduler.timesteps

    def predict_noise(self, x_BCHW: Tensor, timestep: int, text: Conditioning) -> Tensor:
        """ε in float32 for latents in float32, whatever the model's prediction type."""
        guess = self.unet(
            x_BCHW.to(self.device, self.dtype),
            timestep,
            text.hidden_BLC,
            added_cond_kwargs=text.added or None,
            return_dict=False,
        )[0].float()
        if self.scheduler.config.prediction_type == "epsilon":
            return guess
        alpha = self.scheduler.alphas_cumprod[timestep]
        return alpha.sqrt() * guess + (1 - alpha).sqrt() * x_BCHW.to(self.device)

    def alpha(self, timestep: int) -> float:
        """ᾱ_t: the share of the signal's variance that is left at a timestep."""
        return float(self.scheduler.alphas_cumprod[timestep])

    def denoise_step(self, x_BCHW: Tensor, noise_BCHW: Tensor, timestep: int, steps: int) -> Tensor:
        """The latents one step of a DDIM schedule later (Song et al. 2021, eq. 12, η = 0)."""
        before = timestep - self.scheduler.config.num_train_timesteps // steps
        now = self.alpha(timestep)
        # set_alpha_to_one=False: after the last step, the first training step's level.
        later = self.alpha(max(before, 0))
        clean = (x_BCHW - (1 - now) ** 0.5 * noise_BCHW) / now**0.5
        return later**0.5 * clean + (1 - later) ** 0.5 * noise_BCHW


def score_scheduler(config: dict[str, Any]) -> DDIMScheduler:
    """DDIM with the noise levels and prediction type of a model's own scheduler configuration."""
    return DDIMScheduler(
        **{name: config[name] for name in NOISE_LEVELS if config.get(name) is not None},
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


def cross_attention_layers(unet: torch.nn.Module) -> list[str]:
    """Names of the cross-attention modules in the order in which the U-Net runs them.

    Modules are registered with the mid block last; it runs between the down and the up blocks.
    """
    names = [name for name, _ in unet.named_modules() if name.endswith(".attn2")]
    order = ("down_blocks", "mid_block", "up_blocks")
    return sorted(names, key=lambda name: order.index(name.split(".")[0]))
