"""Models with a U-Net that attends to the text by cross-attention, trained as DDPM."""

from abc import abstractmethod
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from scanner.models.diffusion_model import DiffusionModel
from scanner.models.noise_process import Ddpm
from scanner.models.traits import Trait


class UNetModel(DiffusionModel):
    """A U-Net with text encoders. Layers are its cross-attentions."""

    denoiser_part = "unet"
    noise_process: Ddpm

    def __init__(
        self,
        unet: UNet2DConditionModel,
        tokenizer: Any,
        noise_process: Ddpm,
        weights: str,
        pixels_per_latent: int,
    ) -> None:
        super().__init__(unet, tokenizer, noise_process, weights, pixels_per_latent)
        self.unet = unet
        self.layers = cross_attention_layers(unet)

    @classmethod
    def noise_process_of(
        cls, scheduler: dict[str, Any], denoiser: dict[str, Any] | None = None
    ) -> Ddpm:
        return Ddpm(scheduler)

    @staticmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        output: Tensor = denoiser(
            x_BCHW, timestep, hidden_BLC, added_cond_kwargs=added or None, return_dict=False
        )[0]
        return output

    @property
    def traits(self) -> frozenset[Trait]:
        return super().traits | {"unet"}

    @property
    @abstractmethod
    def anisotropy_weights(self) -> tuple[float, float]:
        """Weights (norm, cosine) of the sum in :func:`scanner.signals.noise.anisotropy`."""

    @property
    def anisotropy_of_velocity(self) -> bool:
        """Whether the weights are for the cosine of v-predictions rather than of ε."""
        return False


def cross_attention_layers(unet: torch.nn.Module) -> list[str]:
    """Return the names of the cross-attention modules in execution order.

    The mid block is registered last but runs between the down and the up blocks.
    """
    names = [name for name, _ in unet.named_modules() if name.endswith(".attn2")]
    order = ("down_blocks", "mid_block", "up_blocks")
    return sorted(names, key=lambda name: order.index(name.split(".")[0]))
