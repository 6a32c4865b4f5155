"""Mitigation methods as plain loops, one image at a time, from their definitions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scanner.models.pipeline import denoiser_of

GUIDANCE = 7.5
Guide = Callable[["Image", int, Tensor, Tensor, Tensor, Any], Tensor]


class Image:
    """One image of one caption: its embeddings, and predictions in ε or v."""

    def __init__(self, pipe: Any, caption: str, steps: int) -> None:
        self.pipe, self.steps = pipe, steps
        pipe.scheduler.set_timesteps(steps)
        self.is_flow = "Flow" in type(pipe.scheduler).__name__
        with torch.no_grad():
            if self.is_flow:
                encoded = pipe.encode_prompt(caption, None, None)
                self.text, self.empty, self.pooled, self.empty_pooled = encoded
            else:
                self.text, self.empty = pipe.encode_prompt(caption, "cpu", 1, True)
        self.first = pipe.scheduler.timesteps[0]

    def predict(self, x: Tensor, t: Any, text: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Return the denoiser's raw output for latents (1, C, h, w)."""
        options: dict[str, Any] = {"encoder_hidden_states": text, "return_dict": False}
        if self.is_flow:
            options |= {"pooled_projections": pooled, "timestep": t.expand(1)}
            output: Tensor = denoiser_of(self.pipe)(x, **options)[0]
            return output
        output = denoiser_of(self.pipe)(x, t, **options)[0]
        return output

    def both(self, x: Tensor, t: Any, text: Tensor | None = None) -> tuple[Tensor, Tensor]:
        empty_pooled, pooled = (self.empty_pooled, self.pooled) if self.is_flow else (None, None)
        unconditional = self.predict(x, t, self.empty, empty_pooled)
        text = self.text if text is None else text
        return unconditional, self.predict(x, t, text, pooled)

    def difference(self, x: Tensor, t: Any, text: Tensor | None = None) -> Tensor:
        """Return ε_c − ε_∅, or v_c − v_∅ of flow matching."""
        unconditional, conditional = self.both(x, t, text)
        config = self.pipe.scheduler.config
        if self.is_flow or config.prediction_type == "epsilon":
            return conditional - unconditional
        return (conditional - unconditional) * self.pipe.scheduler.alphas_cumprod[t] ** 0.5


def sample(image: Image, x: Tensor, guide: Guide, text: Tensor | None = None) -> Tensor:
    """Denoise from x; ``guide`` combines each step's two predictions."""
    scheduler = image.pipe.scheduler
    scheduler.set_timesteps(image.steps)
    with torch.no_grad():
        for number, t in enumerate(scheduler.timesteps):
            unconditional, conditional = image.both(x, t, text)
            guided = guide(image, number, x, unconditional, conditional, t)
            x = scheduler.step(guided, t, x, return_dict=False)[0]
    return x


def plainly_guided(
    image: Image, number: int, x: Tensor, unconditional: Tensor, conditional: Tensor, t: Any
) -> Tensor:
    return unconditional + GUIDANCE * (conditional - unconditional)


def sharpness(image: Image, x: Tensor, radius: float, step: float, rounds: int) -> Tensor:
    with torch.no_grad():
        for _ in range(rounds):
            here = image.difference(x, image.first)
            there = image.difference(x + radius * here / here.norm(), image.first)
            x = x - step * (there - here)
    return x


def sail(image: Image, x: Tensor, target: float, weight: float, rate: float, most: int) -> Tensor:
    x = x.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=rate)
    for number in range(most + 1):
        here = image.difference(x, image.first)
        there = image.difference(x + here / here.norm(), image.first)
        loss = there.norm() + weight * x.norm()
        if loss <= target or number == most:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return x.detach()


def embedding(image: Image, x: Tensor, target: float, rate: float, most: int) -> Tensor:
    text = image.text.clone().requires_grad_()
    optimizer = torch.optim.AdamW([text], lr=rate)
    for number in range(most + 1):
        loss = image.difference(x, image.first, text).norm()
        if loss <= target or number == most:
            break
        optimizer.zero_grad()
        loss.backward()
        text.grad[:, 0] = 0
        optimizer.step()
        text.data[:, 0] = image.text[:, 0]
    return text.detach()


class Basin:
    """Guidance that waits for the first local minimum of the difference's norm."""

    def __init__(self, before: float) -> None:
        self.before = before
        self.norms: list[float] = []
        self.left = False

    def __call__(
        self,
        image: Image,
        number: int,
        x: Tensor,
        unconditional: Tensor,
        conditional: Tensor,
        t: Any,
    ) -> Tensor:
        self.norms.append(float(image.difference(x, t).norm()))
        if len(self.norms) >= 3 and self.norms[-3] > self.norms[-2] < self.norms[-1]:
            self.left = True
        scale = GUIDANCE if self.left else self.before
        return unconditional + scale * (conditional - unconditional)
