"""What is replicated: weights, prompt lists and timesteps by name of the model, from kits.toml."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from scanner.models.files.packaged import PACKAGED

ModelName = Literal["sd14", "sd2", "rv51", "testbed", "testbed-dit"]
FILE = Path(__file__).with_name("kits.toml")


@dataclass(frozen=True)
class PromptList:
    """A public file of prompts, all of which are memorized or none.

    ``url``: at a pinned commit; ``sha256``: None if it is recorded on first fetch. ``source``: who
    published it; ``rows``: prompts in it. ``caption``, ``kind``, ``similarity``: columns of a file
    of values separated by semicolons; without ``caption``, each line is a prompt. ``kinds``: what
    values of ``kind`` mean (verbatim, template).
    """

    name: str
    source: str
    url: str
    memorized: bool
    rows: int
    sha256: str | None = None
    caption: str | None = None
    kind: str | None = None
    similarity: str | None = None
    kinds: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kit:
    """A model, its prompt lists, and the sweep of timesteps.

    ``model``: a hub id, or the name of a packaged model, whose labels replace ``lists``.
    ``architecture``: of a model on the hub, to estimate its cost without fetching it. ``pixels``:
    side of its images; sides that its layers can halve are multiples of ``pixel_unit``. ``norm``:
    the signal of the sweep, without its timestep; ``low``: the timestep whose advantage over the
    noisiest one is to be confirmed. ``negatives``: how the prompts that are not memorized differ
    from those of the publications. ``limit``: default of ``--limit``.
    """

    name: str
    title: str
    model: str
    pixels: int
    pixel_unit: int
    norm: str
    low: int
    timesteps: tuple[int, ...]
    lists: tuple[PromptList, ...] = ()
    architecture: str = ""
    negatives: str = ""
    limit: int | None = None

    @property
    def is_packaged(self) -> bool:
        return self.model in PACKAGED


@cache
def kits() -> dict[str, Kit]:
    """Return the kits by name."""
    records = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {name: _kit(name, **record) for name, record in records.items()}


def _kit(name: str, timesteps: list[int], lists: Any = (), **fields: Any) -> Kit:
    return Kit(
        name,
        timesteps=tuple(timesteps),
        lists=tuple(PromptList(**one) for one in lists),
        **fields,
    )
