"""Labels and nulls → thresholds, probabilities, error rates."""

from scanner.calibration.calibrate import Findings, calibrate
from scanner.calibration.discovery import Counted, Discovery, Promise, discover, list_threshold
from scanner.calibration.file import (
    confirmed_directions,
    differ_in_style,
    discovery_record,
    findings_record,
    read_calibration,
    read_evaluation,
    read_null,
    write_calibration,
)
from scanner.calibration.labelled import Labelled, match
from scanner.calibration.labels import Labels, labels_of_verdicts, read_labels
from scanner.calibration.layers import Layers, by_layer
from scanner.calibration.separation import RATES, Separation

__all__ = [
    "RATES",
    "Counted",
    "Discovery",
    "Findings",
    "Labelled",
    "Labels",
    "Layers",
    "Promise",
    "Separation",
    "by_layer",
    "calibrate",
    "confirmed_directions",
    "differ_in_style",
    "discover",
    "discovery_record",
    "findings_record",
    "labels_of_verdicts",
    "list_threshold",
    "match",
    "read_calibration",
    "read_evaluation",
    "read_labels",
    "read_null",
    "write_calibration",
]
