"""Run the forwards of a schedule, and each shared part only once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from scanner.models import Conditioning, DiffusionModel
from scanner.models.device.offloading import offload_blocks
from scanner.models.noise_process import Ddpm, Timestep
from scanner.models.unet_model import UNetModel
from scanner.probe import (
    AttentionRecord,
    CompiledDenoiser,
    Prefix,
    RecordingDenoiser,
    choose_attend,
    record_prefix,
    recording_denoiser,
    watch_attention,
)
from scanner.probe.compiled import BACKEND
from scanner.scoring.derivatives import Derivatives
from scanner.scoring.trajectory import LAST_SHARE, Step, Trajectory, at_latent_size
from scanner.signals.attention import of_text
from scanner.signals.noise import noise_norm


@dataclass(frozen=True)
class AnisotropyTerms:
    """What the anisotropy needs of a model: ᾱ at step 0, the weights of norm and cosine, and
    whether the cosine is of v-predictions."""

    alpha: float
    weights: tuple[float, float]
    of_velocity: bool


class Forwards:
    """Runs the forwards of one model from fixed initial noises.

    The shared prefix and ε_∅ do not depend on the caption: they are computed once per (seed, step)
    and cached (see scanner/signals/README.md). ``compiles``: whether to compile conditional
    forwards from the initial noise, for the batch size of the next call; ``backend``: the compiler.
    ``device``: the kind of device that a model on the meta device stands for.
    """

    def __init__(
        self,
        model: DiffusionModel,
        latent_shape: tuple[int, ...],
        steps: int,
        guidance: float,
        device: str | None = None,
    ) -> None:
        self._device = device or model.device.type
        self.model = model
        self.latent_shape = latent_shape
        # With an embedded guidance, the prediction is already guided.
        self.guidance = guidance if model.embedded_guidance is None else 1.0
        self.times = model.noise_process.timesteps(steps, latent_shape)
        self.anisotropy_terms: AnisotropyTerms | None = None
        if isinstance(model, UNetModel):
            self.anisotropy_terms = AnisotropyTerms(
                model.noise_process.alpha(self.first_time),
                model.anisotropy_weights,
                model.anisotropy_of_velocity,
            )
        self.derivatives = Derivatives(model, self.first_time)
        self._noise: dict[int, Tensor] = {}
        self._prefix: dict[tuple[int, Timestep], Prefix] = {}
        self._empty: dict[tuple[int, Timestep], Tensor] = {}
        self._empty_gradient: dict[int, Tensor] = {}
        self._nothing: Conditioning | None = None
        self._recording: dict[int | None, RecordingDenoiser] = {}
        self._loaded: dict[int | None, tuple[int, Timestep]] = {}
        self._compiled: dict[int | None, CompiledDenoiser] = {}
        self.compiles = False
        self.backend = BACKEND

    @property
    def first_time(self) -> Timestep:
        """Timestep of step 0, the noisiest."""
        return self.times[0]

    def alpha(self, time: Timestep) -> float | None:
        """Return ᾱ at a timestep, None for flow matching."""
        process = self.model.noise_process
        return process.alpha(time) if isinstance(process, Ddpm) else None

    def initial_noise(self, seed: int) -> Tensor:
        """Return x_s (1, C, h, w), which depends only on the seed, not on device or batch."""
        if seed not in self._noise:
            generator = torch.Generator("cpu").manual_seed(seed)
            noise = torch.randn((1, *self.latent_shape), generator=generator, dtype=torch.float32)
            scaled = noise * self.model.noise_process.initial_scale
            self._noise[seed] = scaled.to(self.model.device)
        return self._noise[seed]

    def empty(self, seed: int, time: Timestep) -> Tensor:
        """Return ε_∅, or v_∅, (1, C, h, w) of the initial noise at a timestep; cache the
        shared prefix."""
        if (seed, time) not in self._empty:
            with record_prefix(self.model.denoiser) as prefix:
                empty = self.model.predict(self.initial_noise(seed), time, self._no_caption())
            self._empty[seed, time], self._prefix[seed, time] = empty, prefix
        return self._empty[seed, time]

    def on_noise(
        self, text: Conditioning, seed: int, time: Timestep, depth: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return ā (N, B, L) of the layers on the initial noise at a timestep, and ε_c, or v_c,
        (B, C, h, w) if the whole denoiser ran; replays the shared prefix."""
        x_1CHW = self.initial_noise(seed)
        if depth not in self._recording:
            equal_tail = 0 if self._device == "cuda" else self.model.equal_tail
            self._recording[depth] = self._recorded(depth, equal_tail)
        recording = self._recording[depth]
        if self._loaded.get(depth) != (seed, time):
            recording.load(x_1CHW, time, self.prefix(seed, time))
            self._loaded[depth] = seed, time
        if self.compiles and depth not in self._compiled:
            self._compiled[depth] = CompiledDenoiser(recording, self.backend)
        run = self._compiled[depth] if self.compiles else recording
        guess_BCHW, abar_NBL = run(text.hidden_BLC, text.added)
        if guess_BCHW is None:
            return abar_NBL, None
        return abar_NBL, self.model.noise_process.prediction(guess_BCHW, x_1CHW, time)

    def prefix(self, seed: int, time: Timestep) -> Prefix:
        """Return the shared part of a forward from the initial noise at a timestep."""
        if (seed, time) not in self._prefix:
            first = self._recorded(depth=1)
            first.load(self.initial_noise(seed), time, {})
            nothing = self._no_caption()
            with record_prefix(first.copy) as prefix:
                first(nothing.hidden_BLC, nothing.added)
            self._prefix[seed, time] = prefix
        return self._prefix[seed, time]

    def trajectory(
        self, text: Conditioning, n_B: Tensor, seed: int, first: Tensor, first_empty: Tensor
    ) -> Trajectory:
        """Denoise with guidance, given step 0: ``first`` is its ε_c, ``first_empty`` its ε_∅."""
        model, steps = self.model, len(self.times)
        kept = max(1, steps // LAST_SHARE)
        given = (first, first_empty.expand(len(text), -1, -1, -1)) if steps > 1 else None
        differences, late, second = [], [], None
        with watch_attention(model.denoiser, model.layers, model.map_layers, self.attend) as record:
            record.position_B = n_B - 1
            for step in self.denoise(text, seed, record, given):
                if step.number >= steps - kept:
                    abar_NBL = record.abar_NBL
                    if model.has_joint_attention:
                        abar_NBL = of_text(abar_NBL)
                    late.append(abar_NBL.mean(0))
                differences.append(step.difference_BCHW)
                if step.number == 1:
                    second = step.conditional_BCHW
        maps = [at_latent_size(m, self.latent_shape[1:]) for m in record.maps.values()]
        ending_BHW = torch.stack(maps).mean(0)
        return Trajectory(torch.stack(differences), torch.stack(late), ending_BHW, second)

    def second_step(
        self, text: Conditioning, seed: int, first: Tensor, first_empty: Tensor
    ) -> Tensor:
        """Return ε_c, or v_c, (B, C, h, w) of step 1 of a guided denoising, given those of step 0
        as :meth:`trajectory` takes them."""
        x_BCHW = self.initial_noise(seed).expand(len(text), -1, -1, -1)
        guided = first_empty + self.guidance * (first - first_empty)
        x_BCHW = self.model.noise_process.step(x_BCHW, guided, self.times[0], self.times[1])
        return self.model.predict(x_BCHW, self.times[1], text)

    def denoise(
        self,
        text: Conditioning,
        seed: int,
        record: AttentionRecord,
        first: tuple[Tensor, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Denoise from the initial noise with guidance; yield every step.

        ``record``, from an active watch_attention, then holds the attention of the branch with the
        caption. ``first``: ε_c and ε_∅ of step 0, which then runs no forward and records nothing.
        """
        model, steps, batch = self.model, len(self.times), len(text)
        nothing = self._no_caption().expand(batch)
        x_BCHW = self.initial_noise(seed).expand(batch, -1, -1, -1)
        for number, time in enumerate(self.times):
            if number == 0 and first is not None:
                with_caption, without = first
            else:
                without = model.predict(x_BCHW, time, nothing)
                with_caption = model.predict(x_BCHW, time, text)
            difference = with_caption - without
            guided = without + self.guidance * difference
            following = self.times[number + 1] if number + 1 < steps else None
            x_BCHW = model.noise_process.step(x_BCHW, guided, time, following)
            yield Step(number, with_caption, difference, x_BCHW)

    @torch.inference_mode(False)
    def gradient(self, text: Conditioning, seed: int) -> Tensor:
        """Return the norm over channels of ∂ ‖ε_c − ε_∅‖₂ / ∂ text at step 0, (B, L)."""
        with torch.inference_mode():
            empty = self.empty(seed, self.first_time)
        hidden = text.hidden_BLC.clone().requires_grad_()
        inputs = Conditioning(hidden, {name: v.clone() for name, v in text.added.items()})
        x_BCHW = self.initial_noise(seed).clone().expand(len(text), -1, -1, -1)
        with torch.enable_grad():
            prediction = self.model.predict(x_BCHW, self.first_time, inputs)
            noise_norm(prediction, empty.clone()).sum().backward()
        assert hidden.grad is not None
        return hidden.grad.float().norm(dim=2)

    def along_difference(
        self, text: Conditioning, seed: int, difference_BCHW: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return J_c (ε_c − ε_∅) and J_∅ (ε_c − ε_∅) at step 0, with J = ∂ε/∂x; see
        :class:`~scanner.scoring.derivatives.StepDerivatives`."""
        x_BCHW = self.initial_noise(seed).expand(len(text), -1, -1, -1)
        nothing = self._no_caption().expand(len(text))
        along = self.derivatives.along_latent
        return along(x_BCHW, text, difference_BCHW), along(x_BCHW, nothing, difference_BCHW)

    def along_text(self, text: Conditioning, seed: int) -> Tensor:
        """Return the derivative of ε_c, or v_c, at step 0 along c − c_∅."""
        x_BCHW = self.initial_noise(seed).expand(len(text), -1, -1, -1)
        return self.derivatives.along_text(x_BCHW, text, self._no_caption())

    def gradients(self, text: Conditioning, seed: int) -> tuple[Tensor, Tensor]:
        """Return ∇ₓ ½‖ε_c‖² at step 0 and, computed once per seed, ∇ₓ ½‖ε_∅‖²."""
        x_1CHW = self.initial_noise(seed)
        if seed not in self._empty_gradient:
            self._empty_gradient[seed] = self.derivatives.half_square_gradient(
                x_1CHW, self._no_caption()
            )
        x_BCHW = x_1CHW.expand(len(text), -1, -1, -1)
        return self.derivatives.half_square_gradient(x_BCHW, text), self._empty_gradient[seed]

    def release_memory(self) -> None:
        """Release the device memory held by compiled forwards and by the allocator."""
        if self._compiled:
            self._compiled.clear()
            torch.compiler.reset()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()

    @cached_property
    def attend(self) -> Any:
        return choose_attend(self.model.denoiser, self.model.layers, self._device)

    def _recorded(self, depth: int | None, equal_tail: int = 0) -> RecordingDenoiser:
        """Return an instrumented copy of the denoiser, offloaded if that is."""
        model = self.model
        recording = recording_denoiser(
            model.denoiser, model.layers, model.run, depth, self.attend, equal_tail
        )
        if model.is_offloaded:
            offload_blocks(recording.copy, model.device)
        return recording

    def _no_caption(self) -> Conditioning:
        if self._nothing is None:
            self._nothing = self.model.encode_empty(self.latent_shape)
        return self._nothing
