"""Train the study's models, scan the testbed's captions with them, and evaluate the scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.csv

from jobs.console.progress import ScanProgress
from jobs.development.train_testbed_dit import TrainDitConfig, train_testbed_dit
from scanner.calibration import (
    LabeledCaptions,
    LabelEvaluation,
    Labels,
    LayerEvaluation,
    Separation,
    calibrate,
    evaluate_layers,
    match_labels,
)
from scanner.calibration.combination import cross_fit
from scanner.calibration.evaluation.separation import AucGain, auc_gain, separation
from scanner.calibration.features import ATTENTION_SIGNALS, feature_matrix
from scanner.query import open_run
from scanner.scan.config import ScanConfig
from scanner.scan.scan import scan
from scanner.testbed import files
from scanner.testbed.recipe import TransformerRecipe

PACKAGED = "testbed-dit"
SIGMAS = (900, 750, 500, 250, 100)
MID = "velocity_norm_mid"
SIGNALS = (
    *ATTENTION_SIGNALS,
    *(f"{name}@mid" for name in ATTENTION_SIGNALS),
    "noise_norm_first",
    MID,
    *(f"velocity_norm@{timestep}" for timestep in SIGMAS if timestep != 500),
)
TRAJECTORY = ("entropy_d", "noise_norm_mean", "bright_ending")
TRAJECTORY_STEPS, TRAJECTORY_GUIDANCE = 10, 2.0
"""Signals of the whole trajectory, measured on the packaged model only, since they cost 20 forwards
per caption."""


@dataclass(frozen=True)
class Evaluated:
    """One model's results.

    groups: memorized captions of all, by group. combinations: cross-fitted, by the signals that
    they take. gain: AUC of the velocity norm at σ = 0.5 minus that of the attention at the first
    step.
    """

    seed: int
    groups: dict[str, tuple[int, int]]
    scores: LabelEvaluation
    layers: LayerEvaluation
    combinations: dict[str, Separation]
    gain: AucGain
    trajectory: dict[str, Separation]


def train(out: Path, seed: int) -> None:
    """Train a model and measure what it reproduces, unless that is done or it is packaged."""
    if seed and not _labels_file(out, seed).exists():
        train_testbed_dit(TrainDitConfig(_folder(out, seed), TransformerRecipe(seed=seed)))


def measure(out: Path, seed: int, trajectory: bool = False) -> Evaluated:
    """Scan with a model, unless that is done, and evaluate the scores. ``trajectory``: also scan
    for the signals of the trajectory."""
    run = _scan(out, seed, "run", signals=SIGNALS)
    labels = pyarrow.csv.read_csv(_labels_file(out, seed))
    tables = open_run(run)
    labeled = match_labels(tables, Labels.from_table(labels))
    groups: dict[str, tuple[int, int]] = {}
    for row in labels.to_pylist():
        memorized, captions = groups.get(row["group"], (0, 0))
        groups[row["group"]] = (memorized + row["memorized"], captions + 1)
    fitted = {name: _cross_fitted(labeled, inputs) for name, inputs in _combinations().items()}
    known, clusters = labeled.memorized, labeled.clusters
    velocity = labeled.table[MID].to_numpy()
    return Evaluated(
        seed,
        groups,
        calibrate(tables, labeled)[0],
        evaluate_layers(tables, labeled),
        {name: separation(scores, known, clusters) for name, scores in fitted.items()},
        auc_gain(velocity, fitted["attention, first step"], known, clusters),
        _trajectory(out, labels) if trajectory and seed == 0 else {},
    )


def _combinations() -> dict[str, tuple[str, ...]]:
    first, mid = ATTENTION_SIGNALS, tuple(f"{name}_mid" for name in ATTENTION_SIGNALS)
    return {
        "text_share_layers, first step": ("text_share_layers",),
        "attention, first step": first,
        "attention, σ = 0.5": mid,
        "attention, both": (*first, *mid),
        "attention, first step, and noise_norm_first": (*first, "noise_norm_first"),
        "attention, first step, and velocity_norm_mid": (*first, MID),
    }


def _cross_fitted(labeled: LabeledCaptions, names: tuple[str, ...]) -> Any:
    values, _ = feature_matrix(labeled.table, list(names))
    return cross_fit(values, labeled.memorized, labeled.clusters)


def _trajectory(out: Path, labels: Any) -> dict[str, Separation]:
    run = _scan(
        out,
        0,
        "trajectory",
        signals=TRAJECTORY,
        steps=TRAJECTORY_STEPS,
        guidance=TRAJECTORY_GUIDANCE,
    )
    labeled = match_labels(open_run(run), Labels.from_table(labels))
    return {
        name: separation(labeled.table[name].to_numpy(), labeled.memorized, labeled.clusters)
        for name in TRAJECTORY
    }


def _folder(out: Path, seed: int) -> Path:
    return out / f"seed-{seed}"


def _labels_file(out: Path, seed: int) -> Path:
    return _folder(out, seed) / "labels.csv" if seed else files.TESTBEDS[PACKAGED].labels


def _scan(out: Path, seed: int, name: str, **options: Any) -> str:
    run = str(_folder(out, seed) / name)
    config = ScanConfig(
        captions=(str(files.TRAIN),),
        reference=(str(files.HELDOUT),),
        out=run,
        model=str(_folder(out, seed) / "model") if seed else PACKAGED,
        **options,
    )
    with ScanProgress() as progress:
        scan(config, progress)
    return run
