"""The interface between scoring and a model family."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from scanner.models.conditioning import Conditioning
from scanner.models.noise_process import NoiseProcess, Timestep
from scanner.models.tokens import Tokens, is_clip, tokenize
from scanner.models.traits import Trait


class DiffusionModel(ABC):
    """A denoiser (U-Net or transformer) with its text encoders and its noise process.

    Scores depend only on the weights and the noise process's settings, not on the scheduler that
    the pipeline samples with (scanner/signals/README.md).

    A family declares its components (``parts``; ``optional``: those that a model may lack;
    ``tokenizers``; ``settings``: entries of model_index.json that affect scores, with their
    defaults), its noise process, how it encodes captions and runs its denoiser, and its layers.
    """

    family: ClassVar[str]
    denoiser_part: ClassVar[str]
    parts: ClassVar[dict[str, Any]]
    optional: ClassVar[tuple[str, ...]] = ()
    tokenizers: ClassVar[dict[str, str]] = {"tokenizer": "text_encoder"}
    """Names of the tokenizers, each with the text encoder that reads its tokens."""
    vae: ClassVar[type[Any]] = AutoencoderKL
    settings: ClassVar[dict[str, Any]] = {}
    begins: int = 1
    """How many text positions precede the caption's words: 1 for a beginning token."""
    has_end_token: ClassVar[bool] = True
    """Whether an end token follows the caption's words in the text."""
    packing: ClassVar[int] = 1
    """Latent pixels along one side that are packed into the channels of an image token before the
    denoiser, where that does not embed patches itself."""
    has_joint_attention: ClassVar[bool] = False
    """Whether image and text attend to each other and themselves in one attention, so that the
    text has only a share of the image's attention."""

    layers: list[str]
    """Names of the modules in which the image attends to the text, in execution order."""
    entropy_layer: int
    early_layers: tuple[int, ...]
    """Consecutive numbers of layers, the first of which is 0."""
    map_layers: tuple[int, ...] = (0, 1)
    embedded_guidance: float | None = None
    """The guidance scale that the denoiser takes as an input, for models without other guidance."""
    is_offloaded: bool = False
    """Whether the denoiser is in host memory, and its blocks visit the device."""

    def __init__(
        self,
        denoiser: torch.nn.Module,
        tokenizer: Any,
        noise_process: NoiseProcess,
        weights: str,
        pixels_per_latent: int,
    ) -> None:
        self.denoiser = denoiser.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.noise_process = noise_process
        self.weights = weights
        self.pixels_per_latent = pixels_per_latent

    @classmethod
    @abstractmethod
    def noise_process_of(
        cls, scheduler: dict[str, Any], denoiser: dict[str, Any] | None = None
    ) -> NoiseProcess:
        """Return the noise process of a scheduler's configuration; ``denoiser``: the denoiser's."""

    def to(self, device: str) -> Self:
        """Move the model to a device, in place."""
        for part in self.components.values():
            part.to(device)
        return self

    @property
    def components(self) -> dict[str, torch.nn.Module]:
        """The parts that the model has, by name."""
        named = {name: getattr(self, name) for name in self.parts}
        return {name: part for name, part in named.items() if part is not None}

    @property
    def text_encoders(self) -> dict[str, torch.nn.Module]:
        """The text encoders that the model has, by name."""
        return {n: part for n, part in self.components.items() if n != self.denoiser_part}

    @property
    def canonical_tokenizer(self) -> Any | None:
        """The tokenizer whose normalization makes captions alike, see :func:`canonical`."""
        return self.tokenizer if is_clip(map(type, self.text_encoders.values())) else None

    @property
    def equal_tail(self) -> int:
        """How many of the last text positions are the same for every caption, and stay equal to
        one another in every layer."""
        return 0

    @property
    def traits(self) -> frozenset[Trait]:
        """What signals can require of a model."""
        more: set[Trait] = set()
        if self.has_end_token:
            more.add("end_token")
        if self.has_joint_attention:
            more.add("joint_attention")
        if self.begins:
            more.add("beginning_token")
        return self.noise_process.traits | more

    @property
    def scheduler(self) -> Any:
        return self.noise_process.scheduler

    @abstractmethod
    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        """Return the text conditioning of each caption.

        ``latent_shape``: of the generated image, for families conditioned on its size; defaults to
        the model's own.
        """

    def encode_empty(self, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        """Return the conditioning of the empty caption, as a batch of one."""
        return self.encode(self.tokenize([""]), latent_shape)

    @staticmethod
    @abstractmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        """Return the denoiser's output for latents at a timestep (1,) and a text conditioning."""

    @property
    def device(self) -> torch.device:
        return self.denoiser.device

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    def latent_shape(
        self, height: int | None = None, width: int | None = None, side: float = 1
    ) -> tuple[int, ...]:
        """Return the latent shape (C, h, w) of an image size in pixels, by default the model's own
        times ``side``."""
        size, config = self.denoiser.config.sample_size, self.denoiser.config
        own = (size, size) if isinstance(size, int) else tuple(size)
        return (
            config.in_channels,
            height // self.pixels_per_latent if height else round(side * own[0]),
            width // self.pixels_per_latent if width else round(side * own[1]),
        )

    def tokenize(self, captions: list[str]) -> Tokens:
        return tokenize(self.tokenizer, captions)

    def positions_read(self, tokens: Tokens) -> Tensor | None:
        """Return after how many text positions (B,) padding is masked; None if none is."""
        return None

    def move_tables(self, device: torch.device) -> None:
        """Move what the denoiser keeps outside its parameters and buffers; most keep nothing."""
        return

    def trim(self, tokens: Tokens) -> Tokens:
        """Return a batch without padding that the model masks, and that changes no score."""
        lengths_B = self.positions_read(tokens)
        return tokens if lengths_B is None else tokens.trimmed(int(lengths_B.max()))

    def predict(
        self,
        x_BCHW: Tensor,
        timestep: Timestep,
        text: Conditioning,
        denoiser: Any = None,
    ) -> Tensor:
        """Return the prediction (B, C, H, W) in float32 for float32 latents: ε of DDPM models,
        whatever their prediction type, and v of flow-matching models.

        ``denoiser``: a copy of the model's in another dtype, in place of it.
        """
        denoiser = denoiser or self.denoiser
        output_BCHW = self.run(
            denoiser,
            x_BCHW.to(self.device, denoiser.dtype),
            torch.full((1,), timestep, device=self.device),  # an int would be copied to the device
            text.hidden_BLC,
            text.added,
        )
        return self.noise_process.prediction(output_BCHW, x_BCHW, timestep)
