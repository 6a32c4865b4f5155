"""Find what a text-to-image diffusion model has memorized from its training set.

The public names are imported on first use, since torch takes seconds to load:

- :class:`~scanner.scoring.Scorer` and :func:`~scanner.models.load_model` score captions.
- :func:`~scanner.query.open_run` queries a finished run with DuckDB.
- :func:`~scanner.mitigation.mitigate` and :class:`~scanner.mitigation.Guard` reduce memorization
  during generation and training.
- :class:`~scanner.curation.RemovalFilter` leaves the samples of a removal list out of training.
- ``__version__``: the installed version.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scanner.curation import RemovalFilter
    from scanner.mitigation import Guard, mitigate
    from scanner.models import load_model
    from scanner.query import open_run
    from scanner.scoring import Scorer

    __version__: str

__all__ = [
    "Guard",
    "RemovalFilter",
    "Scorer",
    "__version__",
    "load_model",
    "mitigate",
    "open_run",
]

_ROOMS = {
    "Guard": "scanner.mitigation",
    "RemovalFilter": "scanner.curation",
    "Scorer": "scanner.scoring",
    "load_model": "scanner.models",
    "mitigate": "scanner.mitigation",
    "open_run": "scanner.query",
}

# Read when torch loads, by this process and its actors: a thread that has to wait for another one
# sleeps. By default it spins, and where other processes want the cores, all wait tens of times
# longer.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("memorization-scanner")
    if name in _ROOMS:
        return getattr(importlib.import_module(_ROOMS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
