"""The methods and strengths that the study compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scanner.errors import UsageError


@dataclass(frozen=True)
class MethodCondition:
    """A call of ``mitigate``: a method, with settings that differ from its defaults. ``none``: no
    mitigation."""

    method: str
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        return " ".join((self.method, *(f"{name}={value:g}" for name, value in self.settings)))

    @property
    def options(self) -> dict[str, Any]:
        return {"method": self.method, **dict(self.settings)}


def _strengths(method: str, **settings: tuple[float, ...]) -> list[MethodCondition]:
    """Return the default, and each setting at other values, one at a time."""
    return [
        MethodCondition(method),
        *(
            MethodCondition(method, ((name, value),))
            for name, values in settings.items()
            for value in values
        ),
    ]


NONE = MethodCondition("none")
CONDITIONS = (
    *_strengths("ren", bos_scale=(2.0, 3.0)),
    *_strengths("guard", repulsion=(0.0, 1.0, 4.0), attenuation=(0.0,)),
    *_strengths("sharpness", radius=(10.0, 20.0), unguided=(0.0, 0.2, 0.4)),
    *_strengths("sail", target=(7.5, 7.0, 6.5)),
    MethodCondition("sail", (("target", 6.5), ("iterations", 50.0))),
    *_strengths("basin", before=(1.0,)),
    *_strengths("embedding", target=(1.5, 0.75)),
    MethodCondition("embedding", (("target", 0.75), ("iterations", 50.0))),
    *_strengths("padding"),
)
OF_U_NETS = ("padding",)
"""Methods that a transformer lacks."""


def conditions_of(testbed: str, methods: Sequence[str] = ()) -> list[MethodCondition]:
    """Return the conditions that a testbed's model has, of these methods (all if empty).

    Raises UsageError for methods that are not compared.
    """
    known = {condition.method for condition in CONDITIONS}
    wrong = next((name for name in methods if name not in known), None)
    if wrong is not None:
        raise UsageError(f"--methods {wrong}: must be of {', '.join(sorted(known))}")
    return [
        condition
        for condition in CONDITIONS
        if (not methods or condition.method in methods)
        and (testbed == "testbed" or condition.method not in OF_U_NETS)
    ]


def methods_of(testbed: str) -> tuple[str, ...]:
    """Return the methods that a testbed's model has."""
    return tuple(dict.fromkeys(condition.method for condition in conditions_of(testbed)))
