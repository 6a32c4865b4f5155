"""What a scan would do, before it does it."""

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from scanner.models.loading import choose_device
from scanner.run.status import count_reasons
from scanner.scan.config import ScanConfig
from scanner.scan.inherited import refuse_other_weights, with_model
from scanner.scan.plan.inputs import Inputs
from scanner.scan.plan_scan import plan_scan
from scanner.scan.setting import Say, prepare
from scanner.scoring import Scorer
from scanner.scoring.cost import cost
from scanner.storage import Store
from scanner.storage.local import LOCK

TRIAL_SECONDS = 5.0
TRIAL_BATCH = 32


def describe(config: ScanConfig, inputs: Inputs, say: Say) -> dict[str, Any]:
    """What a scan with these options would do; in the store it leaves nothing.

    The inputs are read and grouped, in a temporary directory, so that the counts are true; a few
    captions are scored by a single forward, and the speed follows from the counted GFLOP.
    """
    config.check()
    given, config = config, with_model(config, say)
    setting = prepare(config, say, on=choose_device(config.device))
    refuse_other_weights(given, setting.scorer.model.weights)
    actors = setting.resources.count()
    racers = _preflight(config) if config.out else 0
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        plan = plan_scan(setting, inputs, store, say)
        rejects = count_reasons(store, plan.rejects)
        with store.open(plan.captions[0]) as file:
            captions = pq.read_table(file, columns=["caption"])["caption"].to_pylist()
    scorer = setting.scorer
    counted = cost(scorer)
    if setting.config.device == "cpu":
        torch.set_num_threads(setting.resources.threads)  # as an actor has them
    speed = _gflop_per_second(scorer, captions, config.batch_size or TRIAL_BATCH) * actors
    rate = speed / (counted.per_caption + counted.text_encoder)
    return {
        "inputs": list(plan.inputs),
        "skipped": plan.skipped,
        "columns": plan.columns,
        "counts": plan.counts,
        "rejects": rejects,
        "limit": config.limit,
        "slices": len(plan.slices),
        "preflight": f"1 of {racers} racing writers won" if racers else "no --out, not tried",
        "model": setting.files.name,
        "actors": actors,
        "signals": [signal.name for signal in scorer.signals],
        "seeds": scorer.seeds,
        "schedule": scorer.schedule.lines(len(scorer.model.layers), scorer.steps),
        "gflop_per_caption": counted.per_caption,
        "gflop_shared": counted.shared,
        "gflop_text_encoder": counted.text_encoder,
        "captions_per_second": rate,
        "hours": plan.counts["captions"] / rate / 3600,
    }


def _preflight(config: ScanConfig) -> int:
    """Try the store; a local directory that was not there before goes again."""
    store = Store(config.out, config.single_writer)
    is_new = not store.is_remote and not store.exists("")
    racers = store.preflight()
    if is_new:
        # Empty by now, unless a scan has begun there.
        with contextlib.suppress(OSError):
            Path(store.location(f"preflight/{LOCK}")).unlink(missing_ok=True)
            for folder in ("preflight", ""):
                Path(store.location(folder)).rmdir()
    return racers


def _gflop_per_second(scorer: Scorer, captions: list[str], batch: int) -> float:
    """What one actor computes here, tried by the standard profile on as many captions as take a
    few seconds, a batch at most: a dearer profile would take too long to try."""
    trial = Scorer(scorer.model, "standard", seeds=1, batch_size=batch)
    counted = cost(trial)
    some = captions[:1]
    trial.score_finite(some)
    for _ in range(2):
        began = time.monotonic()
        trial.score_finite(some)
        seconds = (time.monotonic() - began) / len(some)
        some = captions[: max(1, min(trial.batch_size, int(TRIAL_SECONDS / seconds)))]
    return (counted.per_caption + counted.text_encoder) / seconds
