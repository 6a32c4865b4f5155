"""Time the profiles of one model against a guided pair, Ren et al.'s code and a bare forward."""

import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from jobs.bench.captions import caption
from jobs.bench.device_memory import peak_memory, reset_peak_memory, synchronize
from jobs.bench.flops import TIMED, gflop_by_size
from jobs.bench.launches import count_launches
from scanner.models import Conditioning, DiffusionModel, load_model
from scanner.models.random.random_weights import (
    stable_diffusion_3,
    stable_diffusion_14,
    stable_diffusion_xl,
)
from scanner.probe import watch_attention
from scanner.scoring import Scorer
from scanner.scoring.cost import cost
from scanner.scoring.profiles import PROFILES
from scanner.scoring.spec import ScoringSpec

log = logging.getLogger("memscan")

STEPS = ScoringSpec.steps
TRIED_STEPS = 2
TRIED_TRAJECTORY = 3
NOTES = [
    f"code of Ren et al.: measured on {TRIED_STEPS} of {STEPS} guided steps of one caption "
    "at a time, scaled by the step count; excludes image decoding",
    f"thorough: measured with one seed, scaled to {PROFILES['thorough'].seeds}",
    f"trajectory: measured on {TRIED_TRAJECTORY} steps, the later ones scaled to {STEPS}",
    "probe overhead: a whole instrumented forward over a stock forward, nothing shared",
    "launches: operators that compute or copy, of an uncompiled batch with one seed, text "
    "encoder included; copies: transfers to the host",
]


def measure(name: str, batch: int, rounds: int) -> dict[str, Any]:
    """Return all figures of one model; see ``bench --json`` for their names."""
    model = stable_diffusion_14() if name == "sd14-random" else load_model(name)
    captions = [caption(number) for number in range(batch)]
    variants = _variants(model, captions)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    memory: dict[str, int] = {}
    for round_number in range(rounds + 1):  # the first is a warm-up
        for variant, run in variants.items():
            reset_peak_memory(model.device)
            began = time.perf_counter()
            run()
            synchronize(model.device)
            if round_number:
                seconds[variant].append(time.perf_counter() - began)
            memory[variant] = peak_memory(model.device)
        log.info(f"{name}: round {round_number} of {rounds}")
    seconds["ren"] = [s * batch * STEPS / TRIED_STEPS for s in seconds["ren"]]
    one_seed = seconds["thorough"]
    seconds["thorough"] = [s * PROFILES["thorough"].seeds for s in seconds["thorough"]]
    scale = (STEPS - 1) / (TRIED_TRAJECTORY - 1)
    seconds["trajectory"] = [
        first + (some - first) * scale
        for some, first in zip(seconds["trajectory"], one_seed, strict=True)
    ]
    overhead = _ratio(seconds["recording"], seconds["bare"]) - 1
    profiles, sizes = {}, gflop_by_size(model)
    for profile in TIMED:
        counted = cost(Scorer(model, profile))
        launches, copies = _launches(model, profile, captions)
        profiles[profile] = {
            "gflop_per_caption": counted.per_caption,
            "gflop_by_size": sizes[profile],
            "host_copies_per_batch": copies,
            "launches_per_batch": launches,
            "captions_per_second": batch / statistics.median(seconds[profile]),
            "speedup_over_guided_pair": _ratio(seconds["pair"], seconds[profile]),
            "speedup_over_seed": _ratio(seconds["ren"], seconds[profile]),
            "overhead_over_bare_forward": None if profile == "triage" else overhead,
            "peak_memory_bytes": memory[profile],
        }
    record = {
        "model": name,
        "batch_size": batch,
        "rounds": rounds,
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "gflop_forward": counted.forward,
        "gflop_text_encoder": counted.text_encoder,
        "bare_forward_captions_per_second": batch / statistics.median(seconds["bare"]),
        "profiles": profiles,
        "gflop_by_size_all": sizes["all"],
        "notes": NOTES,
    }
    if name == "sd14-random":
        record["gflop_by_size_sdxl"] = gflop_by_size(stable_diffusion_xl())
        record["gflop_by_size_sd3"] = gflop_by_size(stable_diffusion_3())
    return record


def _launches(
    model: DiffusionModel, profile: str, captions: list[str]
) -> tuple[int | None, int | None]:
    """Return operators and copies to the host per batch with one seed; None for a trajectory,
    whose steps take too long to count."""
    if profile == "trajectory":
        return None, None
    scorer = Scorer(model, profile, seeds=1, batch_size=len(captions), compile=False)
    counted, copies = count_launches(scorer, captions)
    return counted.launches.total(), copies


def _variants(model: DiffusionModel, captions: list[str]) -> dict[str, Callable[[], object]]:
    """Return the variants to time: scoring from text, or only the denoiser (bare, recording)."""
    batch, first = len(captions), model.noise_process.timesteps(STEPS)[0]
    x_BCHW = torch.randn(batch, *model.latent_shape(), device=model.device)
    with torch.inference_mode():
        text = model.encode(model.tokenize(captions))

    def pair(some: list[str], x: torch.Tensor, steps: int) -> None:
        """Run both branches of guidance in one batch, unconditional first, as pipelines do."""
        texts = [model.encode(model.tokenize(words)) for words in ([""] * len(some), some)]
        both = _joined(*texts)
        for _ in range(steps):
            model.predict(torch.cat([x, x]), first, both)

    def bare() -> None:
        model.predict(x_BCHW, first, text)

    def recording() -> None:
        with watch_attention(model.denoiser, model.layers):
            model.predict(x_BCHW, first, text)

    def score(profile: str, **options: Any) -> Callable[[], object]:
        scorer = Scorer(model, profile, batch_size=batch, **options)
        return lambda: scorer.score(captions)

    variants = {
        "bare": bare,
        "recording": recording,
        "pair": lambda: pair(captions, x_BCHW, 1),
        **{name: score(name) for name in TIMED if name not in ("thorough", "trajectory")},
        "thorough": score("thorough", seeds=1),
        "trajectory": score("trajectory", seeds=1, steps=TRIED_TRAJECTORY),
        "ren": lambda: pair(captions[:1], x_BCHW[:1], TRIED_STEPS),
    }
    return {name: torch.inference_mode()(run) for name, run in variants.items()}


def _joined(first: Conditioning, second: Conditioning) -> Conditioning:
    added = {name: torch.cat([first.added[name], second.added[name]]) for name in first.added}
    return Conditioning(torch.cat([first.hidden_BLC, second.hidden_BLC]), added)


def _ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
