"""A calibration as a file: JSON, with a version, the settings it holds for and its evaluation."""

import json
from dataclasses import asdict
from typing import Any

from scanner.calibration.calibrate import TEXT_COMBINATION, Findings
from scanner.calibration.discovery import Discovery
from scanner.calibration.json_file import CalibrationRecord, VersionRecord
from scanner.calibration.separation import RATES, Separation
from scanner.errors import UserError
from scanner.query import Calibration, Threshold
from scanner.run.records import LARGEST_BYTES, decode, named_fields
from scanner.storage import Store, full_url, open_input

FORMAT = "memscan calibration"
VERSION = 1
MEND = "make it again with memscan calibrate"


def read_calibration(url: str) -> Calibration:
    """Read a file that :func:`encode` made. Raises UserError for any other."""
    record = _read(url)
    return Calibration(
        source=url,
        binding=dict(record["binding"]),
        weights={
            str(name): tuple(map(float, values)) for name, values in record["weights"].items()
        },
        intercept=float(record["intercept"]),
        thresholds=tuple(Threshold(**item) for item in record["thresholds"]),
        references=record["references"],
    )


def read_evaluation(url: str) -> dict[str, Any] | None:
    """How well that calibration did on labelled captions (:func:`findings_record`); None for one
    that was made without labels. Raises UserError as :func:`read_calibration`."""
    found = _read(url)["evaluation"]
    return found if "combination" in found else None


def read_null(url: str) -> dict[str, Any] | None:
    """The list without labels that a calibration's thresholds come from (:func:`discovery_record`),
    or None. Raises UserError as :func:`read_calibration`."""
    found = _read(url)["evaluation"].get("null")
    return found and {name: found[name] for name in ("null", "fdr", "length")}


def _read(url: str) -> dict[str, Any]:
    """The file's record, of this version."""
    try:
        with open_input(url) as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"--calibration {url}: cannot be read: {error}") from error
    found = decode(url, data, VersionRecord, MEND)
    if found.get("format") != FORMAT:
        raise UserError(f"{url}: no calibration; memscan calibrate makes one")
    if found.get("version") != VERSION:
        raise UserError(
            f"{url}: version {found.get('version')} of a calibration, and this program reads "
            f"{VERSION}; make it again with memscan calibrate, or update the program"
        )
    return named_fields(decode(url, data, CalibrationRecord, MEND), url, MEND)


def write_calibration(url: str, calibration: Calibration, evaluation: dict[str, Any]) -> None:
    """Write the file whole, or leave what is there."""
    folder, _, name = full_url(url).rpartition("/")
    Store(folder, single_writer=True).write(name, encode(calibration, evaluation))


def encode(calibration: Calibration, evaluation: dict[str, Any]) -> bytes:
    """A file's bytes; ``evaluation`` is kept for whoever reads it."""
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


def findings_record(found: Findings) -> dict[str, Any]:
    """The evaluation as programs rely on it (``memscan calibrate --json``)."""
    return {
        "captions": found.captions,
        "memorized": found.memorized,
        "clusters": found.clusters,
        "references": found.references,
        "signals": {name: _separation(one) for name, one in found.signals.items()},
        "combination": _separation(found.combination),
        "attention_only": found.attention_only and _separation(found.attention_only),
        "text_only": {name: _separation(one) for name, one in found.text_only.items()},
        "best_signal": found.best_signal,
        "gains": {name: asdict(one) for name, one in found.gains.items()},
        "prevalence": found.prior,
        "reliability": [asdict(one) for one in found.reliability],
        "promises": {name: [asdict(one) for one in each] for name, each in found.promises.items()},
    }


def differ_in_style(evaluation: dict[str, Any]) -> bool:
    """Whether the words alone tell the labels apart, and the signals not surely better (by the 95 %
    intervals of both): then what separates them need not be memorization.

    ``evaluation``: :func:`findings_record`.
    """
    alone = evaluation["text_only"].get(TEXT_COMBINATION)
    return (
        alone is not None
        and alone["auc_low"] > 0.5
        and evaluation["gains"][TEXT_COMBINATION]["low"] <= 0
    )


def confirmed_directions(evaluation: dict[str, Any]) -> dict[str, int]:
    """By signal, +1 where the labels confirm its documented direction, -1 where they reverse it, 0
    where they show neither (the 95 % interval of its AUC holds one half).

    ``evaluation``: :func:`findings_record`.
    """
    return {
        name: int(one["auc_low"] > 0.5) - int(one["auc_high"] < 0.5)
        for name, one in evaluation["signals"].items()
    }


def discovery_record(found: Discovery) -> dict[str, Any]:
    """The list without labels, the null's nature said."""
    assumed = {
        "reference": "the reference captions are exchangeable with captions that are not memorized",
        "bulk": "few captions are memorized, and the others' scores have a normal tail",
    }
    return {
        "signal": found.signal,
        "null": found.kind,
        "null_captions": found.null_captions,
        "assumption": assumed[found.kind],
        **asdict(found.listed),
    }


def _separation(one: Separation) -> dict[str, Any]:
    """A rate that the labels are too few for is null."""
    at = {f"{rate:g}": one.at.get(rate) for rate in RATES}
    return {
        "auc": one.auc,
        "auc_low": one.auc_low,
        "auc_high": one.auc_high,
        "tpr_at": {rate: each and each.tpr for rate, each in at.items()},
        "tpr_interval_at": {
            rate: each and [each.tpr_low, each.tpr_high] for rate, each in at.items()
        },
        "threshold_at": {rate: each and each.threshold for rate, each in at.items()},
    }
