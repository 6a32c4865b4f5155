"""Differentiate the denoiser's prediction by the latent or by the text, in float32."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scanner.models import Conditioning, DiffusionModel
from scanner.models.noise_process import Timestep

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class StepDerivatives:
    """Derivatives at step 0 for B captions, of ε (flow matching: v); None if not needed.

    along_difference: J_c (ε_c − ε_∅) and J_∅ (ε_c − ε_∅), J being ∂ε/∂x. along_text: of ε_c by the
    text conditioning along c − c_∅. gradients: ∇ₓ ½‖ε_c‖², and ∇ₓ ½‖ε_∅‖² (1, C, h, w).
    """

    along_difference: tuple[Tensor, Tensor] | None = None
    along_text: Tensor | None = None
    gradients: tuple[Tensor, Tensor] | None = None


class Derivatives:
    """Derivatives of a model's predictions at one timestep, of ε (flow matching: v).

    The denoiser runs in float32, for half-precision models as a copy made at the first use: these
    signals are small differences of derivatives, which half precision rounds away. Jacobian-vector
    products are by forward-mode differentiation, so the value and its derivative take one forward
    of twice the work; fused attention has no forward mode, so these attend by plain products.

    Shapes: B captions, C channels, H x W latent pixels.
    """

    def __init__(self, model: DiffusionModel, time: Timestep) -> None:
        self.model = model
        self.time = time

    @cached_property
    def denoiser(self) -> Any:
        """The denoiser, in float32 at least."""
        denoiser: Any = self.model.denoiser
        return copy.deepcopy(denoiser).float() if self.model.dtype in HALF else denoiser

    @torch.inference_mode(False)
    def along_latent(self, x_BCHW: Tensor, text: Conditioning, direction_BCHW: Tensor) -> Tensor:
        """Return ∂ε/∂x · ``direction_BCHW``: (B, C, H, W)."""
        text = self._outside_inference(text)
        direction_BCHW = direction_BCHW.to(x_BCHW.dtype, copy=True)
        return _jvp(lambda x: self._predict(x, text), (x_BCHW.clone(),), (direction_BCHW,))

    @torch.inference_mode(False)
    def along_text(self, x_BCHW: Tensor, text: Conditioning, origin: Conditioning) -> Tensor:
        """Return ∂ε/∂c · (c − c₀) of the conditioning c = ``text``, c₀ = ``origin``: (B, C, H, W).

        c is everything continuous that the caption conditions on: hidden states, and pooled text if
        the model reads it. Masks stay the caption's.
        """
        text, origin = self._outside_inference(text), self._outside_inference(origin)
        fixed = {name: v for name, v in text.added.items() if not v.is_floating_point()}
        moving = [name for name in text.added if name not in fixed]
        values = (text.hidden_BLC, *(text.added[name] for name in moving))
        length = text.hidden_BLC.shape[1]  # trimmed, where the rest is masked
        origins = (origin.hidden_BLC[:, :length], *(origin.added[name] for name in moving))
        x_BCHW = x_BCHW.clone()

        def predicted(hidden_BLC: Tensor, *added: Tensor) -> Tensor:
            named = fixed | dict(zip(moving, added, strict=True))
            return self._predict(x_BCHW, Conditioning(hidden_BLC, named))

        directions = tuple(one - other for one, other in zip(values, origins, strict=True))
        return _jvp(predicted, values, directions)

    @torch.inference_mode(False)
    def half_square_gradient(self, x_BCHW: Tensor, text: Conditioning) -> Tensor:
        """Return ∇ₓ ½‖ε‖² of each caption: (B, C, H, W)."""
        x_BCHW, text = x_BCHW.clone().requires_grad_(), self._outside_inference(text)
        with torch.enable_grad():
            half = self._predict(x_BCHW, text).square().sum() / 2
        (gradient_BCHW,) = torch.autograd.grad(half, x_BCHW)
        return gradient_BCHW

    def _predict(self, x_BCHW: Tensor, text: Conditioning) -> Tensor:
        return self.model.predict(x_BCHW, self.time, text, self.denoiser)

    def _outside_inference(self, text: Conditioning) -> Conditioning:
        """Return a copy in the denoiser's dtype that is not an inference tensor."""
        dtype = self.denoiser.dtype
        return Conditioning(
            text.hidden_BLC.to(dtype, copy=True),
            {
                name: value.to(dtype if value.is_floating_point() else value.dtype, copy=True)
                for name, value in text.added.items()
            },
        )


def _jvp(
    function: Callable[..., Tensor], values: tuple[Tensor, ...], directions: tuple[Tensor, ...]
) -> Tensor:
    """Return the derivative of a function at values, along one direction of each."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        derivative: Tensor = torch.func.jvp(function, values, directions)[1]
    return derivative
