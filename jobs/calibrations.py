"""The calibration that --calibration names, and the labels that --labels names."""

from typing import TYPE_CHECKING, Any

from jobs.terminal import warn
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


def null_of(name: str | None) -> dict[str, Any] | None:
    """What that calibration records of a list without labels, or None. Raises UserError."""
    if name is None:
        return None
    from scanner.calibration import read_null

    return read_null(_place(name))


def named_calibration(name: str | None) -> Calibration | None:
    """A file's or URL's, or, for ``testbed``, the one in this package; says on standard error where
    its labels make it doubtful. Raises UserError."""
    if name is None:
        return None
    from scanner.calibration import read_calibration

    found = read_calibration(_place(name))
    say_doubt(evaluation_of(name), f"{name}: ")
    return found


def say_doubt(evaluation: dict[str, Any] | None, prefix: str = "") -> None:
    """Where labels differ in style, what is learnt of them may be the style."""
    from scanner.calibration import differ_in_style

    if evaluation and differ_in_style(evaluation):
        warn(
            f"{prefix}the words alone (text_combination) tell the labelled captions "
            "apart, and the signals not surely better: the labels differ in style, and nothing "
            "here shows that it is memorization; label captions of one style"
        )


def named_labels(name: str, tables: RunTables, count_seed_consistent: bool) -> "Labels":
    """A file's or URL's, or, for ``verdicts``, what verification of the run found; says on standard
    error which rows are left out. Raises UserError."""
    from scanner.calibration import labels_of_verdicts, read_labels

    if name == "verdicts":
        found = labels_of_verdicts(tables, count_seed_consistent)
    else:
        found = read_labels(name, count_seed_consistent)
    if found.unlabelled:
        warn(f"{found.unlabelled:,} rows without a label are left out")
    if found.seed_consistent:
        warn(
            f"{found.seed_consistent:,} seed-consistent verdicts are left out: no "
            "training image shows a copy; --count-seed-consistent takes them for memorized"
        )
    return found


def _place(name: str) -> str:
    from scanner.testbed.files import CALIBRATION

    return str(CALIBRATION) if name == "testbed" else name
