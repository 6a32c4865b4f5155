"""Compare scores with how similar a caption's generations are to a training image."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scanner.calibration.evaluation.cluster_counts import MIN_CLUSTERS
from scanner.calibration.evaluation.separation import Separation, separation
from scanner.calibration.labels.labeled_captions import LabeledCaptions
from scanner.calibration.statistics.bootstrap import Bools, Floats
from scanner.calibration.statistics.rank_correlation import RankCorrelation, rank_correlation

THRESHOLDS = (0.5, 0.7)
QUANTILES = (0.5, 0.75, 0.9, 0.95)
MIN_CAPTIONS = 20


@dataclass(frozen=True)
class AtThreshold:
    """Separation, by score, of captions with at least a similarity from the other captions.

    ``captions``: with at least that similarity, in ``clusters``. ``separations``: empty if either
    side has fewer than ten clusters.
    """

    threshold: float
    captions: int
    clusters: int
    separations: dict[str, Separation]


@dataclass(frozen=True)
class SimilarityEvaluation:
    """How scores follow the similarity of the captions that have one.

    ``class_threshold``: the least similarity that counts as memorized, None if labels decide.
    ``correlations``: by score, in the direction of memorization; None if it is constant.
    """

    captions: int
    clusters: int
    class_threshold: float | None
    correlations: dict[str, RankCorrelation | None]
    thresholds: list[AtThreshold]


def evaluate_similarity(
    labeled: LabeledCaptions, scores: Mapping[str, Floats], directions: Mapping[str, int]
) -> SimilarityEvaluation | None:
    """Evaluate the scores on captions with a similarity; None if the labels have none.

    ``directions``: −1 for scores whose lower values mean memorized; 1 if missing.
    """
    if labeled.similarities is None:
        return None
    strengths, clusters = labeled.similarities, labeled.clusters
    among = np.isfinite(strengths)
    return SimilarityEvaluation(
        captions=int(among.sum()),
        clusters=len(np.unique(clusters[among])),
        class_threshold=labeled.threshold,
        correlations={
            name: rank_correlation(directions.get(name, 1) * values, strengths, clusters, among)
            for name, values in scores.items()
        },
        thresholds=[
            _at_threshold(threshold, labeled, strengths, among, scores, directions)
            for threshold in similarity_thresholds(strengths[among], labeled.threshold)
        ],
    )


def similarity_thresholds(similarities: Floats, class_threshold: float | None) -> list[float]:
    """Return 0.5, 0.7, the threshold of the classes, and the quantiles that leave at least 20
    captions on both sides, ascending."""
    thresholds = {*THRESHOLDS, *([] if class_threshold is None else [class_threshold])}
    for quantile in np.quantile(similarities, QUANTILES, method="higher"):
        count = int((similarities >= quantile).sum())
        if MIN_CAPTIONS <= count <= len(similarities) - MIN_CAPTIONS:
            thresholds.add(float(quantile))
    return sorted(thresholds)


def _at_threshold(
    threshold: float,
    labeled: LabeledCaptions,
    strengths: Floats,
    among: Bools,
    scores: Mapping[str, Floats],
    directions: Mapping[str, int],
) -> AtThreshold:
    clusters = labeled.clusters
    similar = among & (strengths >= threshold)
    count, others = (len(np.unique(clusters[side])) for side in (similar, among & ~similar))
    measured = scores if min(count, others) >= MIN_CLUSTERS else {}
    separations = {
        name: separation(values, similar, clusters, directions.get(name, 1), among)
        for name, values in measured.items()
    }
    return AtThreshold(threshold, int(similar.sum()), count, separations)
