"""Compare the study's fine-tuning runs at equal steps and at equal samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.studies.mitigation import plots
from jobs.studies.mitigation.findings import markdown_table, options, write_table

DRAWS = 2000
PLAIN = "no guard"
COLUMNS = (
    *("effective_samples", "repeated_weight", "once_weight", "reproduced", "similarity"),
    *("unseen_loss", "at_equal_steps", "at_equal_samples"),
)
SEEN = """\
repeated_weight and once_weight: mean loss weight since the row before. effective_samples: sum of
the weights. reproduced: share of repeated captions, with a 95 % bootstrap interval over captions.
unseen_loss: with the range over the training seeds; at_equal_steps, at_equal_samples: relative to
the runs without a guard of the same seeds, after as many steps and after as many samples by weight
(between measurements, interpolated)."""


def analyze(table: pa.Table) -> list[dict[str, Any]]:
    """Return one row per run and step: means over the training seeds."""
    rows = table.to_pylist()
    seeds = sorted({row["seed"] for row in rows})
    plain = {
        seed: _curve([r for r in rows if (r["run"], r["seed"]) == (PLAIN, seed)]) for seed in seeds
    }
    summary = []
    for run, step in dict.fromkeys((row["run"], row["step"]) for row in rows):
        measured = [row for row in rows if (row["run"], row["step"]) == (run, step)]
        by_seed = {seed: _first(measured, seed) for seed in seeds}
        losses = np.array([row["unseen_loss"] for row in by_seed.values()])
        equal = [_relative(row, plain[seed]) for seed, row in by_seed.items()]
        row = {"run": run, "step": step}
        for name in ("effective_samples", "repeated_weight", "once_weight"):
            values = [each[name] for each in by_seed.values()]
            row[name] = None if None in values else float(np.mean(values))
        row |= _reproduced(measured)
        row["similarity"] = float(1 - np.mean([each["rmse"] for each in measured]))
        row |= {"unseen_loss": float(losses.mean())}
        row |= {"unseen_loss_low": float(losses.min()), "unseen_loss_high": float(losses.max())}
        for number, name in enumerate(("at_equal_steps", "at_equal_samples")):
            row[name] = float(np.mean([each[number] for each in equal]))
        summary.append(row)
    return summary


def _curve(rows: list[dict[str, Any]]) -> dict[int, tuple[float, float]]:
    """Return the sum of the weights and the loss by step."""
    return {row["step"]: (row["effective_samples"], row["unseen_loss"]) for row in rows}


def _first(rows: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    return next(row for row in rows if row["seed"] == seed)


def _relative(row: dict[str, Any], plain: dict[int, tuple[float, float]]) -> tuple[float, float]:
    """Return by which share a loss is above that without a guard, at equal steps and samples."""
    samples, losses = zip(*plain.values(), strict=True)
    at_samples = float(np.interp(row["effective_samples"], samples, losses))
    return row["unseen_loss"] / plain[row["step"]][1] - 1, row["unseen_loss"] / at_samples - 1


def _reproduced(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the share of copies with its interval over captions."""
    by_caption: dict[str, list[bool]] = {}
    for row in rows:
        by_caption.setdefault(row["caption"], []).append(row["copied"])
    copied = np.array([np.mean(each) for each in by_caption.values()])
    drawn = np.random.default_rng(0).choice(copied, (DRAWS, len(copied))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "reproduced": float(copied.mean()),
        "reproduced_low": float(low),
        "reproduced_high": float(high),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return each run's copying and relative loss at the end."""
    last = max(row["step"] for row in rows)
    names = ("reproduced", "at_equal_steps", "at_equal_samples")
    return {row["run"]: {name: row[name] for name in names} for row in rows if row["step"] == last}


def write(out: Path, rows: list[dict[str, Any]], sizes: dict[str, int]) -> None:
    """Write tuning as parquet, csv, PNG and a page."""
    write_table(out, "tuning", rows)
    plots.plot_tuning(rows, out / "tuning.png")
    lines = [
        "# Guards in fine-tuning the testbed",
        "",
        f"Written by `python -m jobs.studies.mitigation --out DIR {options(sizes)} --tuning-only`.",
        "",
        SEEN,
        "",
        "![tuning](tuning.png)",
        "",
        *markdown_table(rows, COLUMNS, ("run", "step")),
        "",
    ]
    (out / "tuning.md").write_text("\n".join(lines), encoding="utf-8")
