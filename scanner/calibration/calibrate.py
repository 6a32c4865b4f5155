"""Evaluate signals and their combination on labels, and fit a calibration."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from scanner.calibration.discovery import FdrCheck, check_fdr
from scanner.calibration.evaluation.by_class import ClassEvaluation, evaluate_classes
from scanner.calibration.evaluation.cluster_counts import check_clusters
from scanner.calibration.evaluation.label_counts import LabelCount, label_counts
from scanner.calibration.evaluation.separation import (
    AucGain,
    Separation,
    auc_gain,
    separation,
    threshold_at_fpr,
)
from scanner.calibration.evaluation.similarity import SimilarityEvaluation, evaluate_similarity
from scanner.calibration.features import (
    TEXT_ONLY,
    combination_inputs,
    feature_matrix,
    is_attention_signal,
    scalar_signals,
)
from scanner.calibration.labels.labeled_captions import LabeledCaptions
from scanner.calibration.probability import Bin, prior_shift, reliability
from scanner.calibration.statistics.bootstrap import Floats
from scanner.errors import UserError
from scanner.query import COMBINATION, Calibration, RunTables, SignalThreshold, binding_of

TEXT_COMBINATION = "text_combination"
FDRS = (0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class LabelEvaluation:
    """How well a run's scores separate labeled captions.

    The scores of ``combination`` (all signals), ``attention_only`` (cross-attention of one step;
    None if the run has none) and ``text_only[text_combination]`` are cross-fitted. ``gains``: AUC
    of the combination minus that of the best signal and of each baseline without a model.
    ``prior``: the share of memorized captions that probabilities assume. ``fdr_checks``: per
    signal, the empirical check of Benjamini–Hochberg selection; empty without labeled reference
    captions. ``classes``: the same scores on verbatim and on template copies, if labels say which;
    ``similarity``: the same compared with similarities, None if labels have none.
    ``label_counts``: how precise the combination's figures are, and would be with more labels.
    """

    captions: int
    memorized: int
    clusters: int
    references: int
    signals: dict[str, Separation]
    combination: Separation
    attention_only: Separation | None
    text_only: dict[str, Separation]
    best_signal: str | None
    gains: dict[str, AucGain]
    prior: float
    reliability: list[Bin]
    fdr_checks: dict[str, list[FdrCheck]]
    classes: dict[str, ClassEvaluation]
    similarity: SimilarityEvaluation | None
    label_counts: list[LabelCount]

    @property
    def combined(self) -> dict[str, Separation]:
        """Return the cross-fitted combinations of signals by name."""
        combined = {COMBINATION: self.combination, "attention_only": self.attention_only}
        return {name: result for name, result in combined.items() if result}

    @property
    def reversed_signals(self) -> dict[str, Separation]:
        """Return the signals whose documented direction the labels refute."""
        return {name: result for name, result in self.signals.items() if result.is_reversed}


def calibrate(
    tables: RunTables,
    labeled: LabeledCaptions,
    prevalence: float | None = None,
    fpr: float = 0.01,
    fdr: float = 0.1,
) -> tuple[LabelEvaluation, Calibration]:
    """Evaluate the signals on the labels, and fit the combination that ranks other captions.

    ``prevalence``: share of captions that are memorized, by default that of the labels. ``fpr``:
    false-positive rate of the calibration's thresholds, which omit signals whose direction the
    labels refute; ``fdr``: an additional target for the FDR checks. Raises UserError if there are
    too few labels or they are no better than chance.
    """
    from scanner.calibration.combination import cross_fit, fit  # scikit-learn loads slowly

    known = labeled.memorized
    check_clusters(known, labeled.clusters)
    _check_fpr(labeled, fpr)
    weights = labeled.weights
    prior = float(np.average(known, weights=weights)) if prevalence is None else prevalence
    directions = scalar_signals(tables.schema)
    scores = {name: _column(labeled, name) for name in directions}
    names = combination_inputs(tables.schema)
    values, widths = feature_matrix(labeled.table, names)
    shift = prior_shift(known, prior, weights)
    logits = cross_fit(values, known, labeled.clusters, weights) + shift
    combination = separation(logits, known, labeled.clusters, weights=weights)
    if combination.auc_low <= 0.5:
        raise UserError(
            "the combination is no better than chance on held-out captions (AUC "
            f"{combination.auc:.2f}, 95 % interval from {combination.auc_low:.2f}): check the "
            "labels, or label more captions"
        )
    model = fit(values, known, labeled.clusters, weights)
    evaluation = _evaluate(tables.schema, labeled, logits, combination, prior, fdr)
    every_score = {**scores, COMBINATION: logits}
    thresholds = {
        name: threshold_at_fpr(values, known, fpr, directions.get(name, 1), weights)
        for name, values in every_score.items()
        if name not in evaluation.reversed_signals
    }
    calibration = Calibration(
        source="this calibration",
        binding=binding_of(tables.fingerprint),
        weights=_by_column(names, widths, model.weights),
        intercept=model.intercept + shift,
        thresholds=tuple(
            SignalThreshold(name, threshold, directions.get(name, 1) > 0, fpr)
            for name, threshold in thresholds.items()
            if threshold is not None
        ),
        references=int(labeled.is_reference.sum()),
    )
    return evaluation, calibration


def _evaluate(
    schema: pa.Schema,
    labeled: LabeledCaptions,
    logits: Floats,
    combination: Separation,
    prior: float,
    fdr: float,
) -> LabelEvaluation:
    known, clusters, weights = labeled.memorized, labeled.clusters, labeled.weights
    measure = partial(separation, positive=known, clusters=clusters, weights=weights)
    directions = scalar_signals(schema)
    scores = {name: _column(labeled, name) for name in directions}
    attention = [name for name in combination_inputs(schema) if is_attention_signal(name)]
    combined = {COMBINATION: logits}
    if attention:
        combined["attention_only"] = _cross_fitted(labeled, attention)
    baselines = {name: _column(labeled, name) for name in (*TEXT_ONLY, "n_samples")}
    baselines[TEXT_COMBINATION] = _cross_fitted(labeled, list(TEXT_ONLY))
    every_score = {**scores, **combined, **baselines}
    signals = {name: measure(values, direction=directions[name]) for name, values in scores.items()}
    best = max(signals, key=lambda name: signals[name].auc, default=None)
    best_scores = {best: directions[best] * scores[best]} if best else {}
    by_attention = combined.get("attention_only")
    fdr_checks = {
        name: check_fdr(values, known, labeled.is_reference, sorted({*FDRS, fdr}))
        for name, values in {**best_scores, COMBINATION: logits}.items()
    }
    return LabelEvaluation(
        captions=len(known),
        memorized=int(known.sum()),
        clusters=len(np.unique(clusters)),
        references=int(labeled.is_reference.sum()),
        signals=signals,
        combination=combination,
        attention_only=None if by_attention is None else measure(by_attention),
        text_only={name: measure(values) for name, values in baselines.items()},
        best_signal=best,
        gains={
            name: auc_gain(logits, values, known, clusters, weights)
            for name, values in {**best_scores, **baselines}.items()
        },
        prior=prior,
        reliability=reliability(1 / (1 + np.exp(-logits)), known, prior, weights),
        fdr_checks={name: checks for name, checks in fdr_checks.items() if checks},
        classes=evaluate_classes(labeled, every_score, directions),
        similarity=evaluate_similarity(labeled, every_score, directions),
        label_counts=label_counts(logits, known, clusters, weights),
    )


def _check_fpr(labeled: LabeledCaptions, fpr: float) -> None:
    negative = len(np.unique(labeled.clusters[~labeled.memorized]))
    if fpr * negative < 1:
        raise UserError(
            f"--fpr {fpr:g}: {negative} clusters of captions that are not memorized cannot resolve "
            f"a rate below {1 / negative:.2g}; label more captions, or rerun with "
            f"--fpr {math.ceil(1000 / negative) / 1000:g}"
        )


def _column(labeled: LabeledCaptions, name: str) -> Floats:
    return feature_matrix(labeled.table, [name])[0][:, 0]


def _cross_fitted(labeled: LabeledCaptions, names: list[str]) -> Floats:
    from scanner.calibration.combination import cross_fit

    values, _ = feature_matrix(labeled.table, names)
    return cross_fit(values, labeled.memorized, labeled.clusters, labeled.weights)


def _by_column(
    names: list[str], widths: list[int], weights: Floats
) -> dict[str, tuple[float, ...]]:
    parts = np.split(weights, np.cumsum(widths)[:-1])
    return {name: tuple(map(float, part)) for name, part in zip(names, parts, strict=True)}
