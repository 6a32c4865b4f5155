"""Labels and nulls → thresholds, probabilities, error rates."""

from scanner.calibration.calibrate import Findings, calibrate
from scanner.calibration.discovery import Counted, Discovery, Promise, discover, list_threshold
from scanner.calibration.evaluation import Evaluation, evaluate
from scanner.calibration.file import (
    discovery_record,
    findings_record,
    read_calibration,
    write_calibration,
)
from scanner.calibration.labelled import Labelled, match
from scanner.calibration.labels import Labels, read_labels, verdicts
from scanner.calibration.separation import RATES, Separation

__all__ = [
    "RATES",
    "Counted",
    "Discovery",
    "Evaluation",
    "Findings",
    "Labelled",
    "Labels",
    "Promise",
    "Separation",
    "calibrate",
    "discover",
    "discovery_record",
    "evaluate",
    "findings_record",
    "list_threshold",
    "match",
    "read_calibration",
    "read_labels",
    "verdicts",
    "write_calibration",
]
