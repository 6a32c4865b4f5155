"""What a scan would do, before it does it."""

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from scanner.models.loading import choose_device
from scanner.run.status import count_reasons
from scanner.scan.config import ScanConfig
from scanner.scan.inherited import log_inherited, refuse_other_weights, with_model
from scanner.scan.plan.inputs import Inputs
from scanner.scan.plan_scan import plan_scan
from scanner.scan.setting import prepare
from scanner.scan.trial import try_speed
from scanner.scoring.cost import cost
from scanner.storage import Store
from scanner.storage.local import LOCK


def describe(config: ScanConfig, inputs: Inputs) -> dict[str, Any]:
    """What a scan with these options would do; in the store it leaves nothing.

    The inputs are read and grouped, in a temporary directory, so that the counts are true; the
    speed is tried on captions of theirs.
    """
    config.check()
    given, config = config, with_model(config)
    log_inherited(given, config)
    setting = prepare(config, on=choose_device(config.device))
    refuse_other_weights(given, setting.scorer.model.weights)
    actors = setting.resources.count()
    racers = _preflight(config) if config.out else 0
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        plan = plan_scan(setting, inputs, store)
        rejects = count_reasons(store, plan.rejects)
        with store.open(plan.captions[0]) as file:
            captions = pq.read_table(file, columns=["caption"])["caption"].to_pylist()
    scorer = setting.scorer
    counted = cost(scorer)
    if setting.config.device == "cpu":
        torch.set_num_threads(setting.resources.threads)  # as an actor has them
    gflop = counted.per_caption + counted.text_encoder
    rows = max(item.rows for item in plan.slices)
    trial = try_speed(scorer, gflop, captions[:rows], rows)
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
        "captions_per_second": trial.rate * actors,
        "captions_per_second_low": trial.low * actors,
        "captions_per_second_high": trial.high * actors,
        "batch_size": trial.batch_size,
        "guessed": trial.guessed,
        "hours": plan.counts["captions"] / (trial.rate * actors) / 3600,
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
