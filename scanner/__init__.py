"""Finds what a text-to-image diffusion model has memorized of its training set.

``Scorer`` and ``load_model`` are here; the rest of the package is imported by its rooms.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scanner.models import load_model
    from scanner.scoring import Scorer

__all__ = ["Scorer", "load_model"]

# Read when torch loads, by this process and its actors: a thread that has to wait for another one
# sleeps. By default it spins, and where other processes want the cores, all wait tens of times
# longer.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    # Loaded when asked for: torch takes seconds, and sql or status do without it.
    if name == "Scorer":
        from scanner.scoring import Scorer

        return Scorer
    if name == "load_model":
        from scanner.models import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
