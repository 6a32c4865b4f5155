"""Run a mitigation method in a pipeline: around the denoiser's forward and the first step.

The denoiser's ``forward`` is replaced on the instance, so that a method can run it again, with
other inputs, and return another output. Latents that a method changes before the first step are
handed to the scheduler too, which steps from them.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from scanner.errors import UserError
from scanner.mitigation.forward import Forward, read_forward
from scanner.mitigation.generation import Generation, MitigationRecord
from scanner.mitigation.methods.method import Method
from scanner.mitigation.noise_norm_threshold import NoiseNormThreshold, measure_noise_norm
from scanner.mitigation.prompt_hook import PromptRows, hook_prompts
from scanner.models.layers import refuse_only_scanned
from scanner.models.pipeline import as_output, denoiser_of, replaced


@contextmanager
def steer(
    pipe: Any, method: Method, threshold: NoiseNormThreshold | None = None
) -> Iterator[MitigationRecord]:
    """Generate with a method within this context; see :func:`scanner.mitigation.mitigate`.

    ``threshold``: which captions to mitigate (None: all). Restores the pipeline on exit.
    """
    denoiser = denoiser_of(pipe)
    refuse_only_scanned(type(denoiser), "mitigation")
    steering = _Steering(pipe, method, threshold)
    with ExitStack() as stack:
        stack.enter_context(method.install(pipe))
        stack.enter_context(hook_prompts(pipe, steering.begin))
        stack.enter_context(replaced(denoiser, "forward", steering.forward))
        stack.enter_context(replaced(pipe.scheduler, "step", steering.scheduler_step))
        yield steering.record


class _Steering:
    """State of a context: the method, its record, and the running generation."""

    def __init__(self, pipe: Any, method: Method, threshold: NoiseNormThreshold | None) -> None:
        denoiser = denoiser_of(pipe)
        self.pipe, self.method, self.threshold = pipe, method, threshold
        self.run = functools.wraps(denoiser.forward)(functools.partial(self._run, denoiser.forward))
        self.step = pipe.scheduler.step
        self.record = MitigationRecord()
        self.generation: Generation | None = None
        self.shift_NCHW: Tensor | None = None
        self.input_NCHW: Tensor | None = None

    def begin(self, rows: PromptRows) -> None:
        """Start over for a new generation, when the pipeline encodes its prompt."""
        self.generation = Generation(rows, self.record)
        self.record.flagged_N = self.record.noise_norm_N = None
        self.shift_NCHW = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the denoiser's forward with the method."""
        forward = read_forward(self.run, args, kwargs, self.pipe.scheduler)
        generation = self._next_step(forward)
        output = self._predict(forward, generation)
        self.record.extra_forwards -= 1  # the pipeline's own
        if not forward.arguments.get("return_dict", True):
            return (output,)
        return as_output(denoiser_of(self.pipe), output)

    def _run(self, stock: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.record.extra_forwards += 1
        return stock(*args, **kwargs)

    def _next_step(self, forward: Forward) -> Generation:
        generation = self.generation
        if generation is None:
            raise UserError(
                "mitigation: the denoiser ran, but no prompt was encoded within the context; call "
                "the pipeline inside `with mitigate(pipe):`"
            )
        if len(forward.latents_RCHW) != 2 * generation.rows.count:
            raise UserError(
                f"mitigation: the denoiser ran {len(forward.latents_RCHW)} rows for "
                f"{generation.rows.count} captions; this method needs classifier-free "
                "guidance with both halves in one forward, so set guidance_scale above 1"
            )
        if forward.arguments.get("skip_layers"):
            raise UserError(
                "mitigation: skip-layer guidance is not supported; omit skip_guidance_layers"
            )
        if self.method.changes_guidance and getattr(self.pipe, "guidance_rescale", False):
            raise UserError(
                "mitigation: this method sets the guidance, which guidance_rescale changes again; "
                "omit guidance_rescale"
            )
        generation.step += 1
        generation.steps = len(self.pipe.scheduler.timesteps)
        generation.guidance = float(self.pipe.guidance_scale)
        return generation

    def _predict(self, forward: Forward, generation: Generation) -> Tensor:
        if generation.step == 0:
            if self.threshold is not None:
                output = forward.output()
                self._flag(forward, output, generation, self.threshold)
                if not generation.flagged_N.any():  # type: ignore[union-attr]
                    return output
            forward = self._start(forward, generation)
        elif generation.flagged_N is not None and not generation.flagged_N.any():
            return forward.output()
        forward = self.method.prepare(forward, generation)
        return self.method.combine(forward, forward.output(), generation)

    def _flag(
        self,
        forward: Forward,
        output_RCHW: Tensor,
        generation: Generation,
        threshold: NoiseNormThreshold,
    ) -> None:
        def at(timestep: float) -> Tensor:
            return _at_timestep(forward, timestep).output()

        norm_N = measure_noise_norm(
            threshold,
            generation.rows,
            output_RCHW,
            forward.arguments["timestep"],
            self.pipe.scheduler,
            at,
        )
        self.record.noise_norm_N = norm_N
        self.record.flagged_N = generation.flagged_N = norm_N >= threshold.value

    def _start(self, forward: Forward, generation: Generation) -> Forward:
        """Replace the initial latents if the method does."""
        started = self.method.start(forward, generation)
        if started is None:
            return forward
        before = forward.latents_NCHW
        latents = generation.mix(started.to(before.dtype), before)
        self.input_NCHW, self.shift_NCHW = before, latents - before
        return forward.with_latents(latents)

    def scheduler_step(self, *args: Any, **kwargs: Any) -> Any:
        """Take the scheduler's step, the first from the latents that the method started with."""
        if self.shift_NCHW is None:
            return self.step(*args, **kwargs)
        bound = inspect.signature(self.step).bind(*args, **kwargs)
        sample_NCHW = bound.arguments["sample"]
        assert self.input_NCHW is not None
        # Some schedulers scale what the denoiser gets.
        scale = sample_NCHW.float().norm() / self.input_NCHW.float().norm()
        bound.arguments["sample"] = sample_NCHW + (self.shift_NCHW * scale).to(sample_NCHW.dtype)
        self.shift_NCHW = None
        return self.step(*bound.args, **bound.kwargs)


def _at_timestep(forward: Forward, timestep: float) -> Forward:
    given = forward.arguments["timestep"]
    by_row = isinstance(given, Tensor) and given.ndim > 0
    return forward.with_arguments(timestep=torch.full_like(given, timestep) if by_row else timestep)
