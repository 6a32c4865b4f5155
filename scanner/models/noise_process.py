"""How a model turns noise into latents: its timesteps, and one step of denoising.

A signal compares the model's predictions with and without the caption: the noise ε of DDPM models,
the velocity v of flow-matching models.

Shapes: B captions, C channels, H x W latent pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from scanner.models.traits import Trait

Spacing = Literal["scheduler", "steps", "levels"]
Timestep = int | float
"""An integer for DDPM models; 1000 σ for flow matching."""


class NoiseProcess(ABC):
    """A scheduler with only the entries of a model's configuration that affect scores.

    kind: of the model's prediction. entries: names of those entries.
    """

    kind: ClassVar[Trait]
    entries: ClassVar[tuple[str, ...]]
    scheduler: Any

    @property
    def traits(self) -> frozenset[Trait]:
        """What signals can require of a noise process."""
        return frozenset({self.kind})

    @property
    def levels(self) -> int:
        """The number of training timesteps."""
        return int(self.scheduler.config.num_train_timesteps)

    @property
    def settings(self) -> dict[str, Any]:
        """All that affects scores, for hashes."""
        return {name: self.scheduler.config[name] for name in self.entries}

    @property
    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """The settings as a run records them."""

    @property
    def initial_scale(self) -> float:
        """The standard deviation of the initial noise."""
        return 1.0

    @abstractmethod
    def timesteps(self, steps: int, latent_shape: Sequence[int] | None = None) -> list[Timestep]:
        """Return the timesteps of a denoising in ``steps``, noisiest first.

        ``latent_shape`` (C, h, w): for schedules that depend on the resolution.
        """

    @abstractmethod
    def prediction(self, output_BCHW: Tensor, x_BCHW: Tensor, timestep: Timestep) -> Tensor:
        """Convert a denoiser's output for latents x to ε or v, in float32."""

    @abstractmethod
    def add_noise(self, x_BCHW: Tensor, noise_BCHW: Tensor, timestep: Timestep) -> Tensor:
        """Return clean latents x₀ with noise ε added, as in training at a timestep."""

    @abstractmethod
    def target(self, x_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
        """Return what a perfect prediction for noised latents is, given x₀ and ε."""

    @abstractmethod
    def step(
        self,
        x_BCHW: Tensor,
        prediction_BCHW: Tensor,
        timestep: Timestep,
        following: Timestep | None,
    ) -> Tensor:
        """Return the latents after a deterministic step to the ``following`` timestep; None: to the
        clean image."""


class Ddpm(NoiseProcess):
    """DDIM with the model's own betas and prediction type, whatever its pipeline's scheduler.

    The prediction is ε, also for models that predict v.
    """

    kind = "ddpm"
    entries = (
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
        "rescale_betas_zero_snr",
    )

    def __init__(self, config: dict[str, Any]) -> None:
        self.scheduler = DDIMScheduler(
            **{name: config[name] for name in self.entries if config.get(name) is not None},
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            timestep_spacing="leading",
        )
        self._alphas: list[float] = self.scheduler.alphas_cumprod.tolist()

    @property
    def fingerprint(self) -> dict[str, Any]:
        kept = self.settings
        del kept["rescale_betas_zero_snr"]
        return kept

    @property
    def traits(self) -> frozenset[Trait]:
        of_v: set[Trait] = {"v_prediction"} if self.predicts_v else set()
        return super().traits | of_v

    @property
    def predicts_v(self) -> bool:
        """Whether the denoiser's output is v = √ᾱ ε − √(1−ᾱ) x₀."""
        return bool(self.scheduler.config.prediction_type == "v_prediction")

    @property
    def initial_scale(self) -> float:
        return float(self.scheduler.init_noise_sigma)

    def timesteps(self, steps: int, latent_shape: Sequence[int] | None = None) -> list[Timestep]:
        self.scheduler.set_timesteps(steps)
        return [int(time) for time in self.scheduler.timesteps]

    def alpha(self, timestep: Timestep) -> float:
        """Return ᾱ_t, the share of signal variance left at a timestep."""
        return self._alphas[int(timestep)]

    def prediction(self, output_BCHW: Tensor, x_BCHW: Tensor, timestep: Timestep) -> Tensor:
        output = output_BCHW.float()
        if not self.predicts_v:
            return output
        alpha = self.scheduler.alphas_cumprod[int(timestep)]
        return alpha.sqrt() * output + (1 - alpha).sqrt() * x_BCHW.to(output.device)

    def add_noise(self, x_BCHW: Tensor, noise_BCHW: Tensor, timestep: Timestep) -> Tensor:
        """√ᾱ x₀ + √(1−ᾱ) ε."""
        alpha = self.alpha(timestep)
        return alpha**0.5 * x_BCHW + (1 - alpha) ** 0.5 * noise_BCHW

    def target(self, x_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
        """The noise ε, also of models that predict v."""
        return noise_BCHW

    def step(
        self,
        x_BCHW: Tensor,
        prediction_BCHW: Tensor,
        timestep: Timestep,
        following: Timestep | None,
    ) -> Tensor:
        """One DDIM step (Song et al. 2021, eq. 12, η = 0)."""
        now = self.alpha(timestep)
        # set_alpha_to_one=False: the last step ends at the level of training step 0.
        later = self.alpha(following or 0)
        clean = (x_BCHW - (1 - now) ** 0.5 * prediction_BCHW) / now**0.5
        return later**0.5 * clean + (1 - later) ** 0.5 * prediction_BCHW


class FlowMatching(NoiseProcess):
    """Flow matching: x = (1 − σ) x₀ + σ ε, and the model predicts the velocity v = ε − x₀.

    Signals compare velocities: at σ = 1 the ε of every caption is the latent itself, so their
    difference is zero there. The timesteps are those of the model's own pipeline, with its shift.
    ``spacing``: the σ before the shift, evenly spaced over those of the ``scheduler``; from 1 to
    1/``steps``; or over the training ``levels``, as whole timesteps.
    """

    kind = "flow_matching"
    entries = (
        "num_train_timesteps",
        "shift",
        "use_dynamic_shifting",
        "base_shift",
        "max_shift",
        "base_image_seq_len",
        "max_image_seq_len",
        "shift_terminal",
        "time_shift_type",
    )

    def __init__(
        self, config: dict[str, Any], patch_size: int = 1, spacing: Spacing = "scheduler"
    ) -> None:
        self.scheduler = FlowMatchEulerDiscreteScheduler(
            **{name: config[name] for name in self.entries if config.get(name) is not None}
        )
        self.patch_size = patch_size
        self.spacing = spacing

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.settings}

    def timesteps(self, steps: int, latent_shape: Sequence[int] | None = None) -> list[Timestep]:
        shift: dict[str, float] = {}
        if self.scheduler.config.use_dynamic_shifting:
            assert latent_shape is not None, "a shift that depends on the resolution"
            shift = {"mu": self._mu(latent_shape)}
        count = max(steps, 2)  # diffusers' shift_terminal divides by zero for one step
        if self.spacing == "scheduler":
            self.scheduler.set_timesteps(count, **shift)
        elif self.spacing == "steps":
            self.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / count, count), **shift)
        else:
            sigmas = np.linspace(1 - 1 / self.levels, 0, count + 1)[:-1]
            self.scheduler.set_timesteps(sigmas=sigmas, **shift)
        whole = self.spacing == "levels"
        return [int(t) if whole else float(t) for t in self.scheduler.timesteps][:steps]

    def _mu(self, latent_shape: Sequence[int]) -> float:
        """Return the shift for a resolution, linear in the number of image tokens, as pipelines
        compute it."""
        config = self.scheduler.config
        tokens = latent_shape[-2] * latent_shape[-1] // self.patch_size**2
        few, many = config.base_image_seq_len, config.max_image_seq_len
        slope = (config.max_shift - config.base_shift) / (many - few)
        return float(config.base_shift + slope * (tokens - few))

    def prediction(self, output_BCHW: Tensor, x_BCHW: Tensor, timestep: Timestep) -> Tensor:
        return output_BCHW.float()

    def add_noise(self, x_BCHW: Tensor, noise_BCHW: Tensor, timestep: Timestep) -> Tensor:
        """(1 − σ) x₀ + σ ε."""
        sigma = timestep / self.levels
        return (1 - sigma) * x_BCHW + sigma * noise_BCHW

    def target(self, x_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
        """The velocity ε − x₀."""
        return noise_BCHW - x_BCHW

    def step(
        self,
        x_BCHW: Tensor,
        prediction_BCHW: Tensor,
        timestep: Timestep,
        following: Timestep | None,
    ) -> Tensor:
        """One Euler step along the velocity."""
        return x_BCHW + ((following or 0) - timestep) / self.levels * prediction_BCHW
