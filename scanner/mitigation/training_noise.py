"""Add noise to latents for a training step, as a model's noise process prescribes.

Shapes: B samples, C channels, h x w latent pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from scanner.models import DiffusionModel


@dataclass(frozen=True)
class NoisyLatents:
    """Latents with noise, the prediction that the model is trained to give, and the timesteps."""

    x_BCHW: Tensor
    target_BCHW: Tensor
    times_B: Tensor


def add_noise(model: DiffusionModel, x0_BCHW: Tensor, random: torch.Generator) -> NoisyLatents:
    """Add noise at random timesteps, on the device of the latents."""
    if model.noise_process.kind == "flow_matching":
        return _by_flow(model, x0_BCHW, random)
    alphas = model.scheduler.alphas_cumprod
    times_B = torch.randint(len(alphas), (len(x0_BCHW),), generator=random)
    alpha_B111 = alphas[times_B].view(-1, 1, 1, 1).to(x0_BCHW.device)
    noise = torch.randn(x0_BCHW.shape, generator=random).to(x0_BCHW.device)
    noisy = alpha_B111.sqrt() * x0_BCHW + (1 - alpha_B111).sqrt() * noise
    target = noise
    if model.scheduler.config.prediction_type == "v_prediction":
        target = alpha_B111.sqrt() * noise - (1 - alpha_B111).sqrt() * x0_BCHW
    return NoisyLatents(noisy, target, times_B.to(x0_BCHW.device))


def _by_flow(model: DiffusionModel, x0_BCHW: Tensor, random: torch.Generator) -> NoisyLatents:
    """Mix with noise: x = (1 − σ) x₀ + σ ε, whose velocity is ε − x₀.

    σ is that of a logit-normal position in the scheduler's training timesteps (Esser et al. 2024),
    with its shift, as in diffusers' training scripts of Stable Diffusion 3.
    """
    schedule = type(model.scheduler).from_config(model.scheduler.config).timesteps
    position_B = torch.sigmoid(torch.randn(len(x0_BCHW), generator=random))
    times_B = schedule[(position_B * len(schedule)).long()].to(x0_BCHW.device)
    sigma_B111 = (times_B / model.noise_process.levels).view(-1, 1, 1, 1)
    noise = torch.randn(x0_BCHW.shape, generator=random).to(x0_BCHW.device)
    noisy = (1 - sigma_B111) * x0_BCHW + sigma_B111 * noise
    return NoisyLatents(noisy, noise - x0_BCHW, times_B)
