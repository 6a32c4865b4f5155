"""Measure how well scores separate each class of memorized captions from the others."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scanner.calibration.evaluation.cluster_counts import MIN_CLUSTERS
from scanner.calibration.evaluation.separation import Separation, separation
from scanner.calibration.labels.labeled_captions import LabeledCaptions
from scanner.calibration.statistics.bootstrap import Floats
from scanner.run.verdicts import COPIES


@dataclass(frozen=True)
class ClassEvaluation:
    """Separation of one class of memorized captions from those that are not memorized.

    ``separations``: by score; empty if the class has fewer than ten clusters.
    """

    captions: int
    clusters: int
    separations: dict[str, Separation]


def evaluate_classes(
    labeled: LabeledCaptions, scores: Mapping[str, Floats], directions: Mapping[str, int]
) -> dict[str, ClassEvaluation]:
    """Evaluate the scores on each class that the labels state, with the bootstrap draws of the
    whole set.

    ``directions``: −1 for scores whose lower values mean memorized; 1 if missing.
    """
    known, clusters = labeled.memorized, labeled.clusters
    evaluations = {}
    for kind in COPIES:
        members = labeled.classes == kind
        if not members.any():
            continue
        count = len(np.unique(clusters[members]))
        measured = scores if count >= MIN_CLUSTERS else {}
        separations = {
            name: separation(
                values, known, clusters, directions.get(name, 1), members | ~known, labeled.weights
            )
            for name, values in measured.items()
        }
        evaluations[kind] = ClassEvaluation(int(members.sum()), count, separations)
    return evaluations
