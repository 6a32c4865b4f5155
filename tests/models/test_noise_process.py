"""Timesteps and steps of flow matching against the scheduler, as the pipeline runs it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.cogview4.pipeline_cogview4 import calculate_shift as cogview4_shift
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift

from scanner.models.families.cogview4 import UnshiftedFlowMatching
from scanner.models.noise_process import Ddpm, FlowMatching

SHAPES = [(16, 64, 64), (16, 128, 96)]
PATCH = 2
DYNAMIC = {"use_dynamic_shifting": True, "base_shift": 0.4, "max_shift": 1.1}
CONFIGS = {
    "plain": {},
    "shifted": {"shift": 3.0},
    "fewer levels": {"shift": 3.0, "num_train_timesteps": 500},
    "dynamic": DYNAMIC,
    "linear": {**DYNAMIC, "time_shift_type": "linear"},
    "other lengths": {**DYNAMIC, "base_image_seq_len": 100, "max_image_seq_len": 2000},
    "terminal": {"shift": 3.0, "shift_terminal": 0.1},
}


def _scheduler(name: str, steps: int, shape: tuple[int, ...]) -> FlowMatchEulerDiscreteScheduler:
    """The scheduler after the pipeline's preparation of the timesteps."""
    scheduler = FlowMatchEulerDiscreteScheduler(**CONFIGS[name])
    config = scheduler.config
    shift = {}
    if config.use_dynamic_shifting:
        shift["mu"] = calculate_shift(
            (shape[1] // PATCH) * (shape[2] // PATCH),
            config.base_image_seq_len,
            config.max_image_seq_len,
            config.base_shift,
            config.max_shift,
        )
    scheduler.set_timesteps(steps, **shift)
    return scheduler


def _process(name: str) -> FlowMatching:
    return FlowMatching(dict(FlowMatchEulerDiscreteScheduler(**CONFIGS[name]).config), PATCH)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_timesteps_are_those_of_the_pipeline(name: str, shape: tuple[int, ...]) -> None:
    for steps in (2, 7, 50):
        expected = _scheduler(name, steps, shape).timesteps
        assert _process(name).timesteps(steps, shape) == pytest.approx(expected.tolist(), rel=1e-6)


def test_a_dynamic_shift_follows_the_resolution() -> None:
    small, large = (_process("dynamic").timesteps(10, shape) for shape in SHAPES)
    assert small[0] == large[0] == 1000
    assert all(few < many for few, many in zip(small[1:-1], large[1:-1], strict=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_are_those_of_the_scheduler(name: str) -> None:
    """A whole trajectory, with random velocities."""
    scheduler, process = _scheduler(name, 9, SHAPES[1]), _process(name)
    times = process.timesteps(9, SHAPES[1])
    generator = torch.manual_seed(0)
    ours = theirs = torch.randn(2, 4, 3, 3, generator=generator)
    for number, time in enumerate(scheduler.timesteps):
        velocity = torch.randn(ours.shape, generator=generator)
        theirs = scheduler.step(velocity, time, theirs).prev_sample
        following = times[number + 1] if number + 1 < len(times) else None
        ours = process.step(ours, velocity, times[number], following)
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_velocity_of_the_data_leads_to_the_data() -> None:
    """x = (1 − σ) x₀ + σ ε and v = ε − x₀: every step stays on the line from noise to image."""
    process = _process("shifted")
    times = [*process.timesteps(5), None]
    clean, noise = torch.randn(2, 1, 4, 3, 3, generator=torch.manual_seed(0))
    x = noise * process.initial_scale
    for time, following in pairwise(times):
        x = process.step(x, process.prediction(noise - clean, x, time), time, following)
        sigma = (following or 0) / process.levels
        assert torch.allclose(x, (1 - sigma) * clean + sigma * noise, atol=1e-5)
    assert torch.allclose(x, clean, atol=1e-5)


def test_settings_hold_all_that_affects_scores() -> None:
    for name in CONFIGS.keys() - {"plain"}:
        assert _process(name).settings != _process("plain").settings
        assert _process(name).fingerprint != _process("plain").fingerprint
    assert _process("shifted").fingerprint["kind"] == "flow_matching"
    ddpm = {"beta_start": 1e-4, "beta_end": 0.02, "num_train_timesteps": 1000}
    assert "kind" not in Ddpm(ddpm).fingerprint, "as in runs from before there were two kinds"


def test_one_step_is_the_first_of_many_with_a_last_timestep() -> None:
    """Diffusers' own schedule of one step divides by zero there."""
    process = FlowMatching({"shift": 3.0, "shift_terminal": 0.02}, spacing="steps")
    assert process.timesteps(1) == process.timesteps(10)[:1] == [1000.0]
    assert process.timesteps(10)[-1] == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("dynamic", [True, False])
def test_cogview4_is_told_the_level_before_the_shift(dynamic: bool) -> None:
    """Its timesteps and steps are those of its pipeline, whose latents are at the shifted level."""
    config = {
        **{"num_train_timesteps": 1000, "shift": 2.0, "use_dynamic_shifting": dynamic},
        **{"base_shift": 0.25, "max_shift": 0.75, "time_shift_type": "linear"},
    }
    process = UnshiftedFlowMatching(config, patch_size=2)
    times = process.timesteps(5)
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    told = np.linspace(1000, 1, 5).astype(np.int64).astype(np.float32)
    scheduler.set_timesteps(timesteps=told, sigmas=told / 1000, mu=cogview4_shift(32 * 32))
    assert times == scheduler.timesteps.tolist()
    x_BCHW, velocity = torch.randn(2, 1, 4, 64, 64)
    for time, following in zip(times, [*times[1:], None], strict=True):
        expected = scheduler.step(velocity, scheduler.timesteps[times.index(time)], x_BCHW)
        x_BCHW = process.step(x_BCHW, velocity, time, following)
        assert torch.allclose(x_BCHW, expected.prev_sample, atol=1e-5)
