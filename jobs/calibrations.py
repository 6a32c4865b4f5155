"""The calibration that --calibration names."""

import json
from typing import Any

from scanner.query import Calibration


def evaluation_of(name: str | None) -> dict[str, Any] | None:
    """How well that calibration did on labelled captions, as it says itself."""
    if name is None:
        return None
    from scanner.storage import open_input

    with open_input(_place(name)) as file:
        return json.loads(file.read())["evaluation"]


def named_calibration(name: str | None) -> Calibration | None:
    """A file's or URL's, or, for ``testbed``, the one in this package. Raises UserError."""
    if name is None:
        return None
    from scanner.calibration import read_calibration

    return read_calibration(_place(name))


def _place(name: str) -> str:
    from scanner.testbed.files import CALIBRATION

    return str(CALIBRATION) if name == "testbed" else name
