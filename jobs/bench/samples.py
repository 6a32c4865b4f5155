"""Time the scoring of samples on the testbed, and count its FLOPs for Stable Diffusion 1.4."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch.utils.flop_counter import FlopCounterMode

from jobs.bench.captions import caption
from scanner.cores import usable_cores
from scanner.evidence.score_samples.config import LEVELS, ScoreSamplesConfig
from scanner.evidence.score_samples.denoising import SampleDenoiser
from scanner.models import find_model, load_model
from scanner.models.encoding import load_encoder
from scanner.models.random.random_weights import stable_diffusion_14
from scanner.scoring.cost import ForwardCosts

IMAGES = 32
NOISES = ScoreSamplesConfig.noises
# Of Stable Diffusion 1, as its vae/config.json has it.
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}


def measure(rounds: int) -> dict[str, Any]:
    """Return images per second through the VAE and of whole scores, one caption per image, and the
    counted GFLOP per image and per pair; see ``bench --json``."""
    torch.set_num_threads(usable_cores())
    files = find_model("testbed")
    model = load_model(files, device="cpu")
    levels = [int(level) for level in LEVELS]
    denoiser = SampleDenoiser(model, load_encoder(files, "cpu"), levels, NOISES, IMAGES)
    images = torch.rand(IMAGES, 3, *denoiser.size) * 2 - 1
    captions = [caption(number) for number in range(IMAGES)]
    pairs = [(number, number) for number in range(IMAGES)]
    latents = denoiser.latents(images)
    encoding = _seconds(lambda: denoiser.latents(images), rounds)
    scoring = _seconds(lambda: denoiser.errors(latents, captions, pairs), rounds)
    return {
        "model": "testbed",
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "levels": len(levels),
        "noises": NOISES,
        "vae_images_per_second": IMAGES / encoding,
        "images_per_second": IMAGES / (encoding + scoring),
        **_gflop(len(levels) * NOISES),
    }


def _seconds(run: Callable[[], object], rounds: int) -> float:
    """Return the median time after a warm-up."""
    run()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _gflop(forwards: int) -> dict[str, float]:
    """Count Stable Diffusion 1.4 at 512 px, on the meta device. ``forwards``: levels × noises."""
    model = stable_diffusion_14(device="meta")
    costs = ForwardCosts(model, model.latent_shape())
    with torch.device("meta"):
        vae, image = AutoencoderKL(**VAE), torch.empty(1, 3, 512, 512)
    with FlopCounterMode(display=False) as counter:
        vae.encode(image)
    encoder = counter.get_total_flops() / 1e9
    return {
        "gflop_vae": encoder,
        "gflop_per_image": encoder + forwards * costs.whole,
        "gflop_per_pair": costs.encoding + forwards * costs.whole,
    }


def lines(figures: dict[str, Any]) -> list[str]:
    """Describe the figures."""
    return [
        f"scoring samples of the testbed with {figures['levels']} noise levels of "
        f"{figures['noises']} noises, {figures['threads']} threads",
        f"  VAE {figures['vae_images_per_second']:,.1f} images/s; whole scores, a caption per "
        f"image, {figures['images_per_second']:,.2f} images/s",
        f"  Stable Diffusion 1.4 at 512 px: {figures['gflop_per_image']:,.0f} GFLOP per image (VAE "
        f"{figures['gflop_vae']:,.0f}) and {figures['gflop_per_pair']:,.0f} per caption of it",
    ]
