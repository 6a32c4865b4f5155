"""One forward of a denoiser as a pipeline called it, to be run again with other inputs.

Shapes: N captions; R = 2N rows, those without a caption first, as diffusers orders the halves of
classifier-free guidance; C channels, L text positions, D of a text embedding.
"""

import inspect
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scanner.mitigation.noise_norm_threshold import is_flow_matching

TEXT = "encoder_hidden_states"


@dataclass(frozen=True)
class Forward:
    """The arguments of a forward by name, and the function that runs it.

    ``latents_name``: the argument with the latents. ``factor``: times the difference of two
    outputs for the same latents, the difference of the noise ε, or of the velocity v of flow
    matching.
    """

    run: Callable[..., Any]
    arguments: dict[str, Any]
    latents_name: str
    factor: float

    @property
    def latents_RCHW(self) -> Tensor:
        latents: Tensor = self.arguments[self.latents_name]
        return latents

    @property
    def latents_NCHW(self) -> Tensor:
        """The latents of rows with a caption, which are those of the rows without."""
        return self.latents_RCHW.chunk(2)[1]

    @property
    def text_NLD(self) -> Tensor:
        """The text embeddings of rows with a caption."""
        text: Tensor = self.arguments[TEXT].chunk(2)[1]
        return text

    @property
    def is_joint(self) -> bool:
        """Whether the denoiser is a transformer, which takes the text into its own stream."""
        return self.latents_name == "hidden_states"

    def output(self) -> Tensor:
        """Run the denoiser; return the prediction (R, C, h, w)."""
        output: Tensor = self.run(**{**self.arguments, "return_dict": False})[0]
        return output

    def difference(self) -> Tensor:
        """Run the denoiser; return ε_c − ε_∅, or v_c − v_∅ of flow matching (N, C, h, w)."""
        unconditional, conditional = self.output().float().chunk(2)
        return (conditional - unconditional) * self.factor

    def with_arguments(self, **changed: Any) -> "Forward":
        return replace(self, arguments={**self.arguments, **changed})

    def with_latents(self, latents_NCHW: Tensor) -> "Forward":
        """Return this forward with other latents, the same in both halves."""
        both = torch.cat([latents_NCHW, latents_NCHW]).to(self.latents_RCHW.dtype)
        return self.with_arguments(**{self.latents_name: both})

    def with_text(self, text_NLD: Tensor) -> "Forward":
        """Return this forward with other text embeddings in the rows with a caption."""
        empty_NLD, own = self.arguments[TEXT].chunk(2)
        return self.with_arguments(**{TEXT: torch.cat([empty_NLD, text_NLD.to(own.dtype)])})

    def conditional_half(self) -> "Forward":
        """Return the forward of the rows with a caption alone."""
        rows = len(self.latents_RCHW)
        return replace(self, arguments=_second_half(self.arguments, rows))

    def differentiable(self) -> "Forward":
        """Return this forward with inputs that a gradient can be taken through.

        Tensors made in inference mode cannot, so they are copied. To be used within
        :func:`differentiation`.
        """
        return replace(self, arguments=_copied(self.arguments))


@contextmanager
def differentiation() -> Any:
    """Allow gradients within this context, which pipelines and inference mode do not."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def read_forward(
    run: Callable[..., Any], args: Any, kwargs: dict[str, Any], scheduler: Any
) -> Forward:
    """Return the forward of a call with these arguments. ``scheduler``: the pipeline's."""
    signature = inspect.signature(run)
    arguments = dict(signature.bind(*args, **kwargs).arguments)
    latents_name = next(iter(signature.parameters))
    forward = Forward(run, arguments, latents_name, 1.0)
    if is_flow_matching(scheduler) or scheduler.config.prediction_type != "v_prediction":
        return forward
    # ε = √ᾱ v + √(1−ᾱ) x with the same x in both halves, so it cancels in the difference.
    given = arguments["timestep"]
    timestep = float(given.flatten()[0] if isinstance(given, Tensor) else given)
    return replace(forward, factor=scheduler.alphas_cumprod[round(timestep)].item() ** 0.5)


def _second_half(value: Any, rows: int) -> Any:
    if isinstance(value, Tensor):
        return value[rows // 2 :] if value.ndim and len(value) == rows else value
    if isinstance(value, dict):
        return {name: _second_half(one, rows) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_second_half(one, rows) for one in value)
    return value


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _copied(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_copied, value))
    return value
