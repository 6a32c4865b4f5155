"""Read and write calibration files: JSON with version, binding, model and evaluation."""

import json
from dataclasses import asdict
from typing import Any

from scanner.calibration.calibrate import TEXT_COMBINATION, LabelEvaluation
from scanner.calibration.discovery import Discovery
from scanner.calibration.evaluation.separation import FPRS, Separation
from scanner.calibration.evaluation.similarity import SimilarityEvaluation
from scanner.calibration.json_file import CalibrationRecord, VersionRecord
from scanner.errors import UserError
from scanner.query import COMBINATION, Calibration, SignalThreshold
from scanner.run.records import LARGEST_BYTES, decode, named_fields
from scanner.storage import Store, full_url, open_input

FORMAT = "memscan calibration"
VERSION = 1
REMEDY = "recreate it with memscan calibrate"


def read_calibration(url: str) -> Calibration:
    """Read a calibration file. Raises UserError if it is not one, or of another version."""
    record = _read(url)
    return Calibration(
        source=url,
        binding=dict(record["binding"]),
        weights={
            str(name): tuple(map(float, values)) for name, values in record["weights"].items()
        },
        intercept=float(record["intercept"]),
        thresholds=tuple(SignalThreshold(**item) for item in record["thresholds"]),
        references=record["references"],
    )


def read_evaluation(url: str) -> dict[str, Any] | None:
    """Return the file's evaluation on labeled captions (:func:`evaluation_record`), or None if it
    was made without labels. Raises UserError like :func:`read_calibration`."""
    evaluation = _read(url)["evaluation"]
    return evaluation if "combination" in evaluation else None


def read_null(url: str) -> dict[str, Any] | None:
    """Return the selection without labels that the file's thresholds come from
    (:func:`discovery_record`), or None. Raises UserError like :func:`read_calibration`."""
    null = _read(url)["evaluation"].get("null")
    return null and {name: null[name] for name in ("null", "fdr", "length")}


def _read(url: str) -> dict[str, Any]:
    try:
        with open_input(url) as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"--calibration {url}: cannot be read: {error}") from error
    header = decode(url, data, VersionRecord, REMEDY)
    if header.get("format") != FORMAT:
        raise UserError(f"{url}: not a calibration file; create one with memscan calibrate")
    if header.get("version") != VERSION:
        raise UserError(
            f"{url}: calibration file version {header.get('version')}, but this program reads "
            f"version {VERSION}; recreate it with memscan calibrate, or update the program"
        )
    return named_fields(decode(url, data, CalibrationRecord, REMEDY), url, REMEDY)


def write_calibration(url: str, calibration: Calibration, evaluation: dict[str, Any]) -> None:
    """Write a calibration file atomically: an existing file stays whole until it is replaced."""
    folder, _, name = full_url(url).rpartition("/")
    Store(folder, single_writer=True).write(name, encode(calibration, evaluation))


def encode(calibration: Calibration, evaluation: dict[str, Any]) -> bytes:
    """Return the bytes of a calibration file, with ``evaluation`` stored for its readers."""
    record = {
        "format": FORMAT,
        "version": VERSION,
        "binding": calibration.binding,
        "intercept": calibration.intercept,
        "weights": {name: list(values) for name, values in calibration.weights.items()},
        "thresholds": [asdict(threshold) for threshold in calibration.thresholds],
        "references": calibration.references,
        "evaluation": evaluation,
    }
    return (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def evaluation_record(evaluation: LabelEvaluation) -> dict[str, Any]:
    """Return the evaluation as JSON, as ``memscan calibrate --json`` prints and the file stores."""
    records = {
        group: {name: _by_class(evaluation, name, result) for name, result in results.items()}
        for group, results in (
            ("signals", evaluation.signals),
            ("combined", evaluation.combined),
            ("text_only", evaluation.text_only),
        )
    }
    return {
        "captions": evaluation.captions,
        "memorized": evaluation.memorized,
        "clusters": evaluation.clusters,
        "references": evaluation.references,
        "classes": {
            kind: {"captions": each.captions, "clusters": each.clusters}
            for kind, each in evaluation.classes.items()
        },
        "similarity": evaluation.similarity and _similarity(evaluation.similarity),
        "signals": records["signals"],
        "combination": records["combined"][COMBINATION],
        "attention_only": records["combined"].get("attention_only"),
        "text_only": records["text_only"],
        "best_signal": evaluation.best_signal,
        "gains": {name: asdict(gain) for name, gain in evaluation.gains.items()},
        "prevalence": evaluation.prior,
        "reliability": [asdict(bin) for bin in evaluation.reliability],
        "fdr_checks": {
            name: [asdict(check) for check in checks]
            for name, checks in evaluation.fdr_checks.items()
        },
    }


def labels_differ_in_style(evaluation: dict[str, Any]) -> bool:
    """Whether text features alone predict the labels and the combination is not significantly
    better (95 % intervals of AUC and gain): the labels may then differ in style, not memorization.

    ``evaluation``: :func:`evaluation_record`.
    """
    text = evaluation["text_only"].get(TEXT_COMBINATION)
    return (
        text is not None
        and text["auc_low"] > 0.5
        and evaluation["gains"][TEXT_COMBINATION]["low"] <= 0
    )


def confirmed_directions(evaluation: dict[str, Any]) -> dict[str, int]:
    """Return +1 per signal if the labels confirm its documented direction, −1 if they reverse it,
    0 if they show neither (the 95 % interval of its AUC contains 0.5).

    ``evaluation``: :func:`evaluation_record`.
    """
    return {
        name: int(result["auc_low"] > 0.5) - int(result["auc_high"] < 0.5)
        for name, result in evaluation["signals"].items()
    }


def discovery_record(discovery: Discovery) -> dict[str, Any]:
    """Return a selection without labels as JSON, with the assumption that its null makes."""
    assumption = {
        "reference": "the reference captions are exchangeable with captions that are not memorized",
        "bulk": "few captions are memorized, and the scores of the others have a normal tail",
    }
    return {
        "signal": discovery.signal,
        "null": discovery.kind,
        "null_captions": discovery.null_captions,
        "assumption": assumption[discovery.kind],
        **asdict(discovery.selection),
    }


def _similarity(evaluation: SimilarityEvaluation) -> dict[str, Any]:
    """Correlations of constant scores are null."""
    return {
        "captions": evaluation.captions,
        "clusters": evaluation.clusters,
        "class_threshold": evaluation.class_threshold,
        "correlations": {
            name: result and asdict(result) for name, result in evaluation.correlations.items()
        },
        "thresholds": [
            {
                "threshold": each.threshold,
                "captions": each.captions,
                "clusters": each.clusters,
                "scores": {name: _separation(one) for name, one in each.separations.items()},
            }
            for each in evaluation.thresholds
        ],
    }


def _by_class(evaluation: LabelEvaluation, name: str, result: Separation) -> dict[str, Any]:
    """Return a score's separation, and under ``verbatim`` and ``template`` that of each class."""
    classes = {
        kind: _separation(each.separations[name])
        for kind, each in evaluation.classes.items()
        if each.separations
    }
    return _separation(result) | classes


def _separation(result: Separation) -> dict[str, Any]:
    """Rates that need more labels are null."""
    points = {f"{fpr:g}": result.at_fpr.get(fpr) for fpr in FPRS}
    return {
        "auc": result.auc,
        "auc_low": result.auc_low,
        "auc_high": result.auc_high,
        "tpr_at": {fpr: point and point.tpr for fpr, point in points.items()},
        "tpr_interval_at": {
            fpr: point and [point.tpr_low, point.tpr_high] for fpr, point in points.items()
        },
        "threshold_at": {fpr: point and point.threshold for fpr, point in points.items()},
    }
