"""Methods of mitigation during generation, by the name that ``mitigate(method=…)`` takes.

Each is one file and one entry of METHODS. They steer the denoiser's forwards
(:mod:`scanner.mitigation.steering`); the edits of attention of Ren et al. are in
:mod:`scanner.mitigation.inference`.
"""

import dataclasses
from typing import Any

from scanner.errors import UsageError
from scanner.mitigation.methods.attraction_basin import AttractionBasin
from scanner.mitigation.methods.embedding import EmbeddingOptimization
from scanner.mitigation.methods.guard import AttractiveRepulsive
from scanner.mitigation.methods.method import Method
from scanner.mitigation.methods.padding import NeutralPadding
from scanner.mitigation.methods.sail import Sail
from scanner.mitigation.methods.sharpness import Sharpness

METHODS: dict[str, type[Method]] = {
    "guard": AttractiveRepulsive,
    "sharpness": Sharpness,
    "sail": Sail,
    "basin": AttractionBasin,
    "embedding": EmbeddingOptimization,
    "padding": NeutralPadding,
}


def settings_of(name: str) -> dict[str, Any]:
    """Return the settings of a method with their defaults."""
    fields = dataclasses.fields(METHODS[name])  # type: ignore[arg-type]
    return {field.name: field.default for field in fields if field.init}


def make_method(name: str, settings: dict[str, Any]) -> Method:
    """Return a method with these settings; others keep their defaults.

    Raises UsageError for unknown names, and for values that are not finite numbers.
    """
    known = settings_of(name)
    for setting, value in settings.items():
        if setting not in known:
            raise UsageError(
                f"mitigation: {setting!r} is not a setting of {name!r}, which has "
                f"{', '.join(known) or 'none'}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
            raise UsageError(f"mitigation: {setting}={value!r}: must be a number")
    method = METHODS[name](**settings)
    method.check()
    return method
