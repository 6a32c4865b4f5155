"""The calibration that --calibration names, and the labels that --labels names."""

from typing import TYPE_CHECKING, Any

from scanner.query import Calibration, RunTables

if TYPE_CHECKING:
    from scanner.calibration import Labels


def evaluation_of(name: str | None) -> dict[str, Any] | None:
    """How well that calibration did on labelled captions, as it says itself; None where it was
    made without. Raises UserError."""
    if name is None:
        return None
    from scanner.calibration import read_evaluation

    return read_evaluation(_place(name))


def named_calibration(name: str | None) -> Calibration | None:
    """A file's or URL's, or, for ``testbed``, the one in this package. Raises UserError."""
    if name is None:
        return None
    from scanner.calibration import read_calibration

    return read_calibration(_place(name))


def named_labels(name: str, tables: RunTables) -> "Labels":
    """A file's or URL's, or, for ``verdicts``, what verification of the run found. Raises
    UserError."""
    from scanner.calibration import labels_of_verdicts, read_labels

    return labels_of_verdicts(tables) if name == "verdicts" else read_labels(name)


def _place(name: str) -> str:
    from scanner.testbed.files import CALIBRATION

    return str(CALIBRATION) if name == "testbed" else name
