"""How well a pipeline, mitigated or not, denoises images from starts, and the gradient.

The pipeline itself runs the first steps of a generation from a seed's noise. Its scheduler is
replaced by one that follows the image: after each step, the latents are the image's with the same
noise at the next timestep. So a mitigation sees what it would in a generation that reproduces the
image, from step to step, and what it changes is part of the error.

Shapes: N rows, each a caption with its image and a noise; S steps, L text positions, C channels of
latents or embeddings, h x w latent pixels.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scanner.mitigation.adversary.perturbation import perturbed
from scanner.mitigation.forward import TEXT
from scanner.models.noise_process import NoiseProcess, Timestep
from scanner.models.pipeline import denoiser_of, replaced
from scanner.signals.discrepancy import denoising_error

STEPS = 8
FOLLOWED = 4
"""Steps of the schedule, and how many of them are run: the first ones decide the composition."""


@dataclass(frozen=True)
class Rows:
    """Captions with the latents of their images, and noises. ``offset_NLC``: added to the captions'
    embeddings, if given."""

    captions: Sequence[str]
    x_NChw: Tensor
    noise_NChw: Tensor
    offset_NLC: Tensor | None = None


@dataclass(frozen=True)
class ImagePath:
    """Runs a pipeline along images.

    ``generate``: calls the pipeline as for a generation, with its mitigation; ``process``: the
    noise process of its scheduler.
    """

    pipe: Any
    generate: Callable[..., Any]
    process: NoiseProcess
    guidance: float

    def errors(self, rows: Rows) -> Tensor:
        """Return the denoising errors by step (N, S), ‖ε − ε_θ(x_t, c)‖² (flow matching: of v).

        ε_θ is the prediction with the caption that the pipeline guides by. At the first step, x_t
        is the noise alone, as in a generation, so ε is the noise that the image would have there.
        """
        return self._run(rows, None).errors_NS

    def gradients(self, rows: Rows, weight_NS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the errors (N, S), and the gradient (N, L, C) of their weighted sum.

        With respect to the embedding that the denoiser gets. If a mitigation replaces it, this is
        taken for the gradient with respect to the given one (the straight-through estimate of
        Athalye et al., ICML 2018).
        """
        run = self._run(rows, weight_NS)
        return run.errors_NS, run.gradient_NLC

    def _run(self, rows: Rows, weight_NS: Tensor | None) -> "_Run":
        run = _Run(self, rows, weight_NS)
        denoiser = denoiser_of(self.pipe)
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            if rows.offset_NLC is not None:
                stack.enter_context(perturbed(self.pipe, rows.offset_NLC))
            # Within the mitigation, which the call of the pipeline enters; the hooks run outside.
            stock = denoiser.forward
            stack.enter_context(
                replaced(denoiser, "forward", lambda *a, **k: run.forward(stock, *a, **k))
            )
            stack.enter_context(replaced(self.pipe.scheduler, "step", run.follow))
            before = denoiser.register_forward_pre_hook(run.before)
            stack.callback(before.remove)
            after = denoiser.register_forward_hook(run.after)
            stack.callback(after.remove)
            with suppress(_Followed):
                self.generate(
                    list(rows.captions),
                    num_inference_steps=STEPS,
                    guidance_scale=self.guidance,
                    latents=rows.noise_NChw.to(denoiser.dtype),
                    height=rows.noise_NChw.shape[-2] * self.pipe.vae_scale_factor,
                    width=rows.noise_NChw.shape[-1] * self.pipe.vae_scale_factor,
                    output_type="latent",
                )
        return run


class _Followed(Exception):
    """Ends a generation after the steps that are followed."""


class _Run:
    """State of a run: the latents, and what was measured at each step."""

    def __init__(self, path: ImagePath, rows: Rows, weight_NS: Tensor | None) -> None:
        self.path, self.weight_NS = path, weight_NS
        self.x_NChw = rows.x_NChw
        self.noise_NChw = rows.noise_NChw.to(rows.x_NChw.device, torch.float32)
        self.latents_NChw = self.noise_NChw
        self.errors: list[Tensor] = []
        self.leaf_NLC: Tensor | None = None
        self.gradient_NLC = torch.empty(0)

    @property
    def errors_NS(self) -> Tensor:
        return torch.stack(self.errors, 1)

    @property
    def timestep(self) -> Timestep:
        time = self.path.pipe.scheduler.timesteps[len(self.errors)]
        return float(time) if time.is_floating_point() else int(time)

    def before(self, _: Any, __: Any) -> None:
        """Record a graph from here on, which pipelines do not."""
        torch.set_grad_enabled(self.weight_NS is not None)
        self.leaf_NLC = None

    def forward(self, stock: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the denoiser; its embedding is that of the mitigation plus zero, for the gradient."""
        if self.weight_NS is None:
            return stock(*args, **kwargs)
        text_RLC = kwargs[TEXT]
        count = len(self.noise_NChw)
        if self.leaf_NLC is None:
            shape = (count, *text_RLC.shape[1:])
            self.leaf_NLC = torch.zeros(shape, device=text_RLC.device, requires_grad=True)
        own_NLC = text_RLC[-count:] + self.leaf_NLC.to(text_RLC.dtype)
        kwargs = {**kwargs, TEXT: torch.cat([text_RLC[:-count], own_NLC])}
        return stock(*args, **kwargs)

    def after(self, _: Any, __: Any, output: Any) -> Any:
        """Measure a step by the output that the pipeline gets."""
        conditional_NChw = output[0].chunk(2)[1]
        process, x_NChw, time = self.path.process, self.x_NChw, self.timestep
        predicted = process.prediction(conditional_NChw, self.latents_NChw, time)
        zero, one = torch.zeros_like(x_NChw), torch.ones_like(x_NChw)
        clean, scale = (process.add_noise(*pair, time) for pair in ((x_NChw, zero), (zero, one)))
        target = process.target(x_NChw, (self.latents_NChw - clean) / scale)
        error_N = denoising_error(target, predicted)
        if self.weight_NS is not None and self.leaf_NLC is not None:
            loss = (error_N * self.weight_NS[:, len(self.errors)]).sum()
            (added,) = torch.autograd.grad(loss, [self.leaf_NLC])
            self.gradient_NLC = self.gradient_NLC + added if self.errors else added
        torch.set_grad_enabled(False)
        self.errors.append(error_N.detach())
        if len(self.errors) == FOLLOWED:
            raise _Followed
        return (output[0].detach(), *output[1:])

    def follow(self, *_: Any, **__: Any) -> tuple[Tensor]:
        """Return the image's latents with the noise at the next timestep."""
        self.latents_NChw = self.path.process.add_noise(self.x_NChw, self.noise_NChw, self.timestep)
        return (self.latents_NChw.to(denoiser_of(self.path.pipe).dtype),)
