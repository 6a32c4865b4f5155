"""Labels and a run → how well each signal and their combination separate, and a calibration."""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scanner.calibration.combination import check_clusters, cross_fit, fit
from scanner.calibration.discovery import Promise, check
from scanner.calibration.features import ATTENTION, TEXT_ONLY, inputs, matrix, scalar_signals
from scanner.calibration.labelled import Labelled
from scanner.calibration.probability import Bin, prior_shift, reliability
from scanner.calibration.separation import Floats, Gain, Separation, gain, separation, threshold
from scanner.errors import UserError
from scanner.query import COMBINATION, Calibration, RunTables, Threshold, binding_of

TEXT_COMBINATION = "text_combination"
FDRS = (0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Findings:
    """Everything that labels tell of a run.

    Of ``combination`` (all signals), ``attention_only`` (one step's cross-attention alone; None
    where the run has none) and ``text_only[text_combination]`` the scores are cross-fitted.
    ``gains``: of the combination over the best signal and what needs no model. ``prior``: the
    share of memorized captions that probabilities are for. ``promises``: by signal, what the null
    procedure promised and kept; empty without labelled reference captions.
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
    gains: dict[str, Gain]
    prior: float
    reliability: list[Bin]
    promises: dict[str, list[Promise]]

    @property
    def combined(self) -> dict[str, Separation]:
        """The cross-fitted combinations of signals."""
        both = {COMBINATION: self.combination, "attention_only": self.attention_only}
        return {name: one for name, one in both.items() if one}


def calibrate(
    tables: RunTables,
    labelled: Labelled,
    prevalence: float | None = None,
    fpr: float = 0.01,
    fdr: float = 0.1,
) -> tuple[Findings, Calibration]:
    """Evaluate on the labels, and fit what ranks other captions.

    ``prevalence``: the share of captions that is memorized, by default that of the labels.
    ``fpr``: of the calibration's thresholds; ``fdr``: of the promises. Raises UserError where the
    labels are too few or say nothing.
    """
    known = labelled.memorized
    check_clusters(known, labelled.clusters)
    _check_rate(labelled, fpr)
    prior = float(known.mean()) if prevalence is None else prevalence
    way = scalar_signals(tables.schema)
    scores = {name: _column(labelled, name) for name in way}
    names = inputs(tables.schema)
    values, widths = matrix(labelled.table, names)
    shift = prior_shift(known, prior)
    logits = cross_fit(values, known, labelled.clusters) + shift
    combination = separation(logits, known, labelled.clusters)
    if combination.auc_low <= 0.5:
        raise UserError(
            "on captions that it has not seen, the combination is no better than chance (AUC "
            f"{combination.auc:.2f}, interval from {combination.auc_low:.2f}): check the labels, "
            "or label more captions"
        )
    model = fit(values, known, labelled.clusters)
    decisions = {**scores, COMBINATION: logits}
    starts = {
        name: threshold(each, known, fpr, way.get(name, 1)) for name, each in decisions.items()
    }
    calibration = Calibration(
        source="this calibration",
        binding=binding_of(tables.fingerprint),
        weights=_by_column(names, widths, model.weights),
        intercept=model.intercept + shift,
        thresholds=tuple(
            Threshold(name, start, way.get(name, 1) > 0, fpr)
            for name, start in starts.items()
            if start is not None
        ),
        references=int(labelled.reference.sum()),
    )
    found = _findings(tables.schema, labelled, logits, combination, prior, fdr)
    return found, calibration


def _findings(
    schema: pa.Schema,
    labelled: Labelled,
    logits: Floats,
    combination: Separation,
    prior: float,
    fdr: float,
) -> Findings:
    known, clusters = labelled.memorized, labelled.clusters
    way = scalar_signals(schema)
    signals = {
        name: separation(_column(labelled, name), known, clusters, sign)
        for name, sign in way.items()
    }
    best = max(signals, key=lambda name: signals[name].auc, default=None)
    first = {best: way[best] * _column(labelled, best)} if best else {}
    baselines = {name: _column(labelled, name) for name in (*TEXT_ONLY, "n_samples")}
    baselines[TEXT_COMBINATION] = _cross_fitted(labelled, list(TEXT_ONLY))
    attention = [name for name in inputs(schema) if name in ATTENTION]
    by_attention = _cross_fitted(labelled, attention) if attention else None
    promises = {
        name: check(each, known, labelled.reference, sorted({*FDRS, fdr}))
        for name, each in {**first, COMBINATION: logits}.items()
    }
    return Findings(
        captions=len(known),
        memorized=int(known.sum()),
        clusters=len(np.unique(clusters)),
        references=int(labelled.reference.sum()),
        signals=signals,
        combination=combination,
        attention_only=None if by_attention is None else separation(by_attention, known, clusters),
        text_only={name: separation(each, known, clusters) for name, each in baselines.items()},
        best_signal=best,
        gains={
            name: gain(logits, each, known, clusters)
            for name, each in {**first, **baselines}.items()
        },
        prior=prior,
        reliability=reliability(1 / (1 + np.exp(-logits)), known, prior),
        promises={name: each for name, each in promises.items() if each},
    )


def _check_rate(labelled: Labelled, fpr: float) -> None:
    negative = len(np.unique(labelled.clusters[~labelled.memorized]))
    if fpr * negative < 1:
        raise UserError(
            f"--fpr {fpr:g}: {negative} clusters of captions that are not memorized cannot tell a "
            f"rate below {1 / negative:.2g}; label more, or repeat with "
            f"--fpr {math.ceil(1000 / negative) / 1000:g}"
        )


def _column(labelled: Labelled, name: str) -> Floats:
    return matrix(labelled.table, [name])[0][:, 0]


def _cross_fitted(labelled: Labelled, names: list[str]) -> Floats:
    values, _ = matrix(labelled.table, names)
    return cross_fit(values, labelled.memorized, labelled.clusters)


def _by_column(
    names: list[str], widths: list[int], weights: Floats
) -> dict[str, tuple[float, ...]]:
    parts = np.split(weights, np.cumsum(widths)[:-1])
    return {name: tuple(map(float, part)) for name, part in zip(names, parts, strict=True)}
