"""What a scan would do, before it does it."""

import tempfile
import time
from typing import Any

import pyarrow.parquet as pq

from scanner.scan.config import ScanConfig
from scanner.scan.drive import plan_scan
from scanner.scan.inputs import choose_inputs
from scanner.scan.setting import Say, prepare
from scanner.scoring.cost import cost
from scanner.storage import Store

TRIAL_CAPTIONS = 4


def describe(config: ScanConfig, say: Say) -> dict[str, Any]:
    """What a scan with these options would do; in the store it leaves nothing.

    The inputs are read and grouped, in a temporary directory, and a few captions are scored, so
    that counts and hours are measured.
    """
    config.check()
    inputs = choose_inputs(config)
    setting = prepare(config, say)
    racers = Store(config.out, config.single_writer).preflight() if config.out else 0
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        plan = plan_scan(setting, inputs, store, say)
        with store.open(plan.captions[0]) as file:
            some = pq.read_table(file, columns=["caption"])["caption"][:TRIAL_CAPTIONS].to_pylist()
    setting.scorer.score_finite(some[:1])
    began = time.monotonic()
    setting.scorer.score_finite(some)
    rate = len(some) / (time.monotonic() - began) * setting.resources.actors
    scorer = setting.scorer
    counted = cost(scorer)
    return {
        "inputs": list(plan.inputs),
        "columns": plan.columns,
        "counts": plan.counts,
        "slices": len(plan.slices),
        "preflight": f"1 of {racers} racing writers won" if racers else "no --out, not tried",
        "model": setting.files.name,
        "actors": setting.resources.actors,
        "signals": [signal.name for signal in setting.scorer.signals],
        "seeds": setting.scorer.seeds,
        "schedule": scorer.schedule.lines(len(scorer.model.layers), scorer.steps),
        "gflop_per_caption": counted.per_caption,
        "gflop_shared": counted.shared,
        "gflop_text_encoder": counted.text_encoder,
        "captions_per_second": rate,
        "hours": plan.counts["captions"] / rate / 3600,
    }
