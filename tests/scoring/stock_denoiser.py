"""Predictions of a stock denoiser in float64, and derivatives by central differences."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from scanner.models import DiffusionModel

STEP = 1e-4


class StockDenoiser:
    """ε of a U-Net, or v of Stable Diffusion 3's transformer, for one text and many latents.

    ``texts``: of the captions, by caption; the empty caption's as the model has it.
    """

    def __init__(self, model: DiffusionModel, captions: list[str]) -> None:
        self.denoiser = copy.deepcopy(model.denoiser).double()
        self.alphas = getattr(model.scheduler, "alphas_cumprod", None)
        self.of_v = model.scheduler.config.get("prediction_type") == "v_prediction"
        with torch.no_grad():
            encoded = {one: model.encode(model.tokenize([one])) for one in captions}
            encoded[""] = model.encode_empty()
        self.texts = {
            caption: [one.hidden_BLC.double(), *(value.double() for value in one.added.values())]
            for caption, one in encoded.items()
        }
        self.added = list(encoded[""].added)

    def raw(self, x_KCHW: Tensor, time: float, text: list[Tensor]) -> Tensor:
        """Return the denoiser's output for K latents."""
        hidden, *more = (one.expand(len(x_KCHW), *one.shape[1:]) for one in text)
        added = dict(zip(self.added, more, strict=True))
        times = torch.full((len(x_KCHW),), float(time), dtype=torch.float64)
        if self.alphas is None:
            return self.denoiser(x_KCHW, hidden, added["pooled_projections"], times).sample
        return self.denoiser(x_KCHW, times, hidden, added_cond_kwargs=added or None).sample

    def predict(self, x_KCHW: Tensor, time: float, text: list[Tensor]) -> Tensor:
        """Return ε, or v of flow matching."""
        return self.prediction(x_KCHW, time, self.raw(x_KCHW, time, text))

    def prediction(self, x_KCHW: Tensor, time: float, output: Tensor) -> Tensor:
        """Return ε, or v of flow matching, given the denoiser's output."""
        if not self.of_v:
            return output
        alpha = self.alphas[int(time)].double()
        return alpha.sqrt() * output + (1 - alpha).sqrt() * x_KCHW

    def along_latent(self, x: Tensor, time: float, text: list[Tensor], direction: Tensor) -> Tensor:
        """Return ∂ε/∂x · direction."""
        return _slope(lambda h: self.predict(x + h * direction, time, text), STEP)

    def along_text(self, x: Tensor, time: float, text: list[Tensor]) -> Tensor:
        """Return ∂ε/∂c · (c − c_∅)."""

        def moved(h: float) -> list[Tensor]:
            pairs = zip(text, self.texts[""], strict=True)
            return [one + h * (one - other) for one, other in pairs]

        return _slope(lambda h: self.predict(x, time, moved(h)), STEP)

    @torch.enable_grad()
    def half_square_gradient(self, x: Tensor, time: float, text: list[Tensor]) -> Tensor:
        """Return ∇ₓ ½‖ε‖², by reverse mode."""
        leaf = x.clone().requires_grad_()
        (self.predict(leaf, time, text).square().sum() / 2).backward()
        assert leaf.grad is not None
        return leaf.grad


def _slope(function: Callable[[float], Tensor], step: float) -> Tensor:
    """Return the derivative of a function at 0."""
    return (function(step) - function(-step)) / (2 * step)
