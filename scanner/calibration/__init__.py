"""Turn labels and reference captions into thresholds, probabilities and error rates."""

from scanner.calibration.calibrate import LabelEvaluation, calibrate
from scanner.calibration.discovery import (
    Discovery,
    FdrCheck,
    FdrOutcome,
    discover,
    selection_threshold,
)
from scanner.calibration.evaluation.by_class import ClassEvaluation
from scanner.calibration.evaluation.reviewed_precision import ReviewedPrecision, reviewed_precision
from scanner.calibration.evaluation.separation import FPRS, Separation
from scanner.calibration.evaluation.similarity import SimilarityEvaluation
from scanner.calibration.file import (
    confirmed_directions,
    discovery_record,
    evaluation_record,
    labels_differ_in_style,
    read_calibration,
    read_evaluation,
    read_null,
    write_calibration,
)
from scanner.calibration.labels.decision_labels import decision_labels
from scanner.calibration.labels.label_files import read_labels, read_list
from scanner.calibration.labels.label_values import SimilarityOptions
from scanner.calibration.labels.labeled_captions import LabeledCaptions, match_labels
from scanner.calibration.labels.labels import Labels, join_labels
from scanner.calibration.labels.verdict_labels import verdict_labels
from scanner.calibration.layers import LayerEvaluation, evaluate_layers

__all__ = [
    "FPRS",
    "ClassEvaluation",
    "Discovery",
    "FdrCheck",
    "FdrOutcome",
    "LabelEvaluation",
    "LabeledCaptions",
    "Labels",
    "LayerEvaluation",
    "ReviewedPrecision",
    "Separation",
    "SimilarityEvaluation",
    "SimilarityOptions",
    "calibrate",
    "confirmed_directions",
    "decision_labels",
    "discover",
    "discovery_record",
    "evaluate_layers",
    "evaluation_record",
    "join_labels",
    "labels_differ_in_style",
    "match_labels",
    "read_calibration",
    "read_evaluation",
    "read_labels",
    "read_list",
    "read_null",
    "reviewed_precision",
    "selection_threshold",
    "verdict_labels",
    "write_calibration",
]
