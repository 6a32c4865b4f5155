"""The models in this package, by name."""

from pathlib import Path

_TESTBED = Path(__file__).parents[2] / "testbed"
PACKAGED = {"testbed": _TESTBED / "model", "testbed-dit": _TESTBED / "model_dit"}
