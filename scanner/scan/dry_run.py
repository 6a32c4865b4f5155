"""Show what a scan would do and estimate its speed."""

import contextlib
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq
import torch

from scanner.models.loading import choose_device, load_model
from scanner.run.rejects import count_reasons
from scanner.scan.config import ScanConfig
from scanner.scan.device_fit import fit_here, why_not_measured
from scanner.scan.gpu_estimate import gpu_estimate
from scanner.scan.opening import OpenScan, refuse_other_weights
from scanner.scan.preparation import PreparedScan, prepare
from scanner.scan.scan import plan_scan
from scanner.scoring import Scorer
from scanner.scoring.cost import cost
from scanner.scoring.fit import Fit
from scanner.storage import Store
from scanner.storage.local import LOCK

TRIAL_SECONDS = 10.0
BATCHES = 4
# Bounds of a scan's speed relative to the trial's batches: its actors share memory and cores with
# one another, with Ray and with other processes on the machine.
SLOWER, FASTER = 0.5, 1.3
# How much wider the bounds are for a speed that is extrapolated.
EXTRAPOLATED = 2.0


@dataclass(frozen=True)
class Trial:
    """Captions per second of one actor, with likely bounds.

    ``guessed``: extrapolated from another profile, since a batch of this one takes too long.
    """

    rate: float
    low: float
    high: float
    batch_size: int
    guessed: bool


def dry_run(opened: OpenScan) -> dict[str, Any]:
    """Return what a scan would do; leaves nothing in the store.

    Reads and groups the inputs in a temporary directory, for exact counts. FLOPs and memory are
    counted on the meta device, without weights. Where these are on this machine and fit its device,
    they are loaded to measure the speed on the captions.
    """
    config, inputs = opened.config, opened.inputs
    prepared = prepare(config, opened.model, downloads_weights=False)
    if prepared.files.has_weights:
        refuse_other_weights(config, prepared.scorer.model.weights)
    actors = prepared.resources.count()
    writers = _preflight(opened.run.store) if opened.run else 0
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        plan = plan_scan(prepared, inputs, store)
        rejects = count_reasons(store, plan.rejects)
        with store.open(plan.captions[0]) as file:
            captions = pq.read_table(file, columns=["caption"])["caption"].to_pylist()
    scorer = prepared.scorer
    costs = prepared.cost
    gflop = costs.per_caption + costs.text_encoder
    fitted = fit_here(prepared)
    rows = max(item.rows for item in plan.slices)
    not_measured = why_not_measured(prepared, fitted)
    trial = None if not_measured else _measured_speed(prepared, gflop, captions[:rows], rows)
    batch_size = trial.batch_size if trial else config.batch_size or min(rows, fitted.first_batch)
    return {
        "inputs": list(plan.inputs),
        "skipped": plan.skipped,
        "columns": plan.columns,
        "counts": plan.counts,
        "rejects": rejects,
        "limit": config.limit,
        "slices": len(plan.slices),
        "tiers": plan.captions_by_tier(),
        "preflight": f"1 of {writers} racing writers won" if writers else "no --out, not tested",
        "model": prepared.files.name,
        "actors": actors,
        "signals": [signal.name for signal in scorer.signals],
        "seeds": scorer.seeds,
        "schedule": scorer.schedule.lines(len(scorer.model.layers), scorer.steps),
        "gflop_per_caption": costs.per_caption,
        "gflop_shared": costs.shared,
        "gflop_text_encoder": costs.text_encoder,
        "text_encoder_share": costs.text_share,
        "memory": fitted.to_json(batch_size),
        **_speed(trial, actors, plan.counts["captions"]),
        "batch_size": batch_size,
        "not_measured": not_measured,
        "gpu_estimate": _on_gpu(config, plan.counts["captions"], gflop, fitted),
    }


def _on_gpu(config: ScanConfig, captions: int, gflop: float, fitted: Fit) -> dict[str, Any] | None:
    """Return the estimate for the card of --gpu; ``fitted``: how the model fits that card."""
    if config.gpu is None:
        return None
    estimated = gpu_estimate(config.gpu, captions, gflop, config.price, config.captions_per_second)
    return asdict(estimated) | {
        "fits": not fitted.refusal,
        "largest_batch": fitted.largest_batch,
        "is_offloaded": fitted.offloads or fitted.offloads_denoiser,
    }


def _speed(trial: Trial | None, actors: int, captions: int) -> dict[str, Any]:
    """Return the speed and hours of so many actors; None for what was not measured."""
    if trial is None:
        names = ("", "_low", "_high")
        unknown = {f"captions_per_second{name}": None for name in names}
        return {**unknown, "guessed": False, "hours": None}
    return {
        "captions_per_second": trial.rate * actors,
        "captions_per_second_low": trial.low * actors,
        "captions_per_second_high": trial.high * actors,
        "guessed": trial.guessed,
        "hours": captions / (trial.rate * actors) / 3600,
    }


def _measured_speed(
    prepared: PreparedScan, gflop: float, captions: list[str], slice_rows: int
) -> Trial:
    """Load the model on this machine's device, and time it; see :func:`try_speed`."""
    config = prepared.config
    if prepared.device == "cpu":
        torch.set_num_threads(prepared.resources.threads)  # as in an actor
    model = load_model(prepared.files, device=choose_device(config.device), weights="unused")
    scorer = Scorer.from_spec(model, config.scoring_spec, batch_size=config.batch_size)
    return try_speed(scorer, gflop, captions, slice_rows)


def _preflight(store: Store) -> int:
    """Try the store, and remove a local directory that did not exist before."""
    is_new = not store.is_remote and not store.exists("")
    writers = store.preflight()
    if is_new:
        # Empty by now, unless a scan has started there.
        with contextlib.suppress(OSError):
            Path(store.location(f"preflight/{LOCK}")).unlink(missing_ok=True)
            for folder in ("preflight", ""):
                Path(store.location(folder)).rmdir()
    return writers


def try_speed(scorer: Scorer, gflop: float, captions: list[str], slice_rows: int) -> Trial:
    """Score captions for some seconds, in batches of at most ``slice_rows`` captions.

    ``gflop``: the scorer's cost per caption. If that takes longer than the trial, the speed is
    extrapolated from a cheap profile's by their costs.
    """
    cheap = Scorer(scorer.model, "standard", seeds=1, batch_size=scorer.batch_size)
    share = 1.0
    if cheap.fingerprint != scorer.fingerprint:
        costs = cost(cheap)
        share = gflop / (costs.per_caption + costs.text_encoder)
    _seconds(cheap, captions[:1])
    few = max(1, min(scorer.batch_size, int(TRIAL_SECONDS / 4 / _seconds(cheap, captions[:1]))))
    sample = list(islice(cycle(captions), few))
    per_caption = min(_seconds(cheap, sample) for _ in range(2)) / few
    guessed = per_caption * share * scorer.batch_size * 2 > TRIAL_SECONDS
    if guessed:
        fixed = scorer.batch_size if scorer.batch.is_settled else None
        trial = Scorer(scorer.model, "standard", seeds=1, batch_size=fixed)
    else:
        trial, share = scorer, 1.0
    size, rates = _warm_rates(trial, captions, slice_rows)
    rates = [rate / share for rate in rates]
    wider = EXTRAPOLATED if guessed else 1.0
    return Trial(
        rate=median(rates),
        low=min(rates) * SLOWER / wider,
        high=max(rates) * FASTER * wider,
        batch_size=size,
        guessed=guessed,
    )


def _warm_rates(scorer: Scorer, captions: list[str], most: int) -> tuple[int, list[float]]:
    """Return the batch size, and the captions per second of all but the first batch of that size.

    Sizes are searched as an actor searches them, within the trial's time.
    """
    began = time.monotonic()
    size, is_warm = 0, False
    rates: list[float] = []
    while len(rates) < BATCHES or not (scorer.batch.is_settled or size == most):
        next_size = min(scorer.batch_size, most)
        if next_size != size:
            size, rates, is_warm = next_size, [], False
        seconds = _seconds(scorer, list(islice(cycle(captions), size)))
        if is_warm:
            rates.append(size / seconds)
        is_warm = True
        if rates and time.monotonic() - began > TRIAL_SECONDS:
            break
    return size, rates


def _seconds(scorer: Scorer, captions: list[str]) -> float:
    start = time.perf_counter()
    scorer.score_finite(captions)
    return time.perf_counter() - start
