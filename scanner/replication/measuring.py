"""Measure the scans of a replication: separation by signal, and calibrations."""

import logging
import math
from dataclasses import dataclass

import numpy as np

from scanner.calibration import (
    ClassEvaluation,
    LabeledCaptions,
    LabelEvaluation,
    Separation,
    calibrate,
    match_labels,
)
from scanner.calibration.evaluation.by_class import evaluate_classes
from scanner.calibration.evaluation.separation import AucGain, auc_gain, separation
from scanner.calibration.features import TEXT_ONLY, feature_matrix, scalar_signals
from scanner.errors import UserError
from scanner.models import DiffusionModel
from scanner.query import Calibration, RunTables, open_run
from scanner.replication.planned_scans import PlannedScan
from scanner.replication.running import Scanned
from scanner.run import Run
from scanner.scoring.cost import ForwardCosts, cost

log = logging.getLogger("memscan.replication")

FPR = 0.01


@dataclass(frozen=True)
class Measurement:
    """How well one scan separates the prompts.

    ``signals``, ``text_only``: by column; ``classes``: the same by class of copies. ``evaluation``,
    ``calibration``: of the combination of a profile's signals; None, and ``why_not`` says why, if
    it cannot be fitted. ``seconds``: of one device per prompt; ``gflop``: per prompt.
    """

    scan: PlannedScan
    labeled: LabeledCaptions
    signals: dict[str, Separation]
    text_only: dict[str, Separation]
    classes: dict[str, ClassEvaluation]
    evaluation: LabelEvaluation | None
    calibration: Calibration | None
    why_not: str
    seconds: float
    gflop: float
    devices: tuple[str, ...]

    @property
    def combination(self) -> Separation | None:
        return self.evaluation.combination if self.evaluation else None

    def by_class(self, column: str) -> dict[str, Separation]:
        """Return a column's separation of verbatim and of template copies, where labels say which
        and there are enough of them."""
        return {
            kind: each.separations[column]
            for kind, each in self.classes.items()
            if column in each.separations
        }

    def gain(self, column: str, other: "Measurement", baseline: str) -> AucGain | None:
        """Return the AUC of a column minus that of another scan's; None unless both scans scored
        the same prompts."""
        mine, its = self.labeled.table, other.labeled.table
        if not mine["caption_id"].equals(its["caption_id"]):
            return None
        return auc_gain(
            feature_matrix(mine, [column])[0][:, 0],
            feature_matrix(its, [baseline])[0][:, 0],
            self.labeled.memorized,
            self.labeled.clusters,
        )


def measure(scanned: Scanned) -> list[Measurement]:
    """Measure every scan. Raises UserError if the labels cannot be used at all."""
    costs: dict[tuple[int, ...], ForwardCosts] = {}
    measurements = []
    for number, one in enumerate(scanned.scans, 1):
        log.info(f"measuring scan {number} of {len(scanned.scans)}: {one.name}")
        measurements.append(_measure(scanned, one, costs))
    return measurements


def _measure(
    scanned: Scanned, planned: PlannedScan, costs: dict[tuple[int, ...], ForwardCosts]
) -> Measurement:
    url = scanned.store.location(planned.folder)
    tables = open_run(url)
    labeled = match_labels(tables, scanned.truth.labels)
    evaluation, calibration, why_not = None, None, "a sweep of one signal"
    if planned.kind == "profile":
        evaluation, calibration, why_not = _fitted(tables, labeled)
    if evaluation:
        signals, text_only = evaluation.signals, evaluation.text_only
        classes = evaluation.classes
    else:
        signals, text_only, classes = _plain(tables, labeled)
    seconds, devices = _seconds(url, len(labeled.memorized))
    return Measurement(
        planned,
        labeled,
        signals,
        # The lists name each prompt once.
        {name: one for name, one in text_only.items() if name != "n_samples"},
        classes,
        evaluation,
        calibration,
        why_not,
        seconds,
        gflop_per_caption(planned, scanned.outline, costs),
        devices,
    )


def _fitted(
    tables: RunTables, labeled: LabeledCaptions
) -> tuple[LabelEvaluation | None, Calibration | None, str]:
    """Return a profile's evaluation and calibration, or why there are none."""
    negative = len(np.unique(labeled.clusters[~labeled.memorized]))
    fpr = max(FPR, math.ceil(1000 / negative) / 1000)
    try:
        evaluation, calibration = calibrate(tables, labeled, fpr=fpr)
    except UserError as error:
        return None, None, str(error)
    return evaluation, calibration, ""


def _plain(
    tables: RunTables, labeled: LabeledCaptions
) -> tuple[dict[str, Separation], dict[str, Separation], dict[str, ClassEvaluation]]:
    """Return the separations of signals, of text features, and by class, without a combination."""
    directions = scalar_signals(tables.schema)
    scores = {
        name: feature_matrix(labeled.table, [name])[0][:, 0] for name in (*directions, *TEXT_ONLY)
    }
    known, clusters = labeled.memorized, labeled.clusters
    each = {
        name: separation(values, known, clusters, directions.get(name, 1))
        for name, values in scores.items()
    }
    signals = {name: each[name] for name in directions}
    return (
        signals,
        {name: each[name] for name in TEXT_ONLY},
        evaluate_classes(labeled, scores, directions),
    )


def gflop_per_caption(
    planned: PlannedScan, outline: DiffusionModel, costs: dict[tuple[int, ...], ForwardCosts]
) -> float:
    """Count a scan's operations per prompt, text encoder included. ``costs``: those counted so far,
    by latent shape."""
    scorer = planned.scorer(outline)
    if scorer.latent_shape not in costs:
        costs[scorer.latent_shape] = ForwardCosts(outline, scorer.latent_shape)
    counted = cost(scorer, costs[scorer.latent_shape])
    return counted.per_caption + counted.text_encoder


def _seconds(url: str, captions: int) -> tuple[float, tuple[str, ...]]:
    """Return a run's seconds of one device per prompt, and the devices that computed it."""
    commits = Run.existing(url).commits.all()
    seconds = sum(commit.seconds for commit in commits)
    devices = sorted({str(commit.notes.get("device", "unknown")) for commit in commits})
    return seconds / captions, tuple(devices)
