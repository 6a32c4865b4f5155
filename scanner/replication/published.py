"""Published detection figures, from published.toml."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("published.toml")


@dataclass(frozen=True)
class PublishedFigure:
    """The AUC and the true-positive rate at 1 % false positives that a publication reports.

    ``signal``: our column for the method. ``steps``: of its denoising; ``seeds``: initial noises
    that it averages.
    """

    method: str
    signal: str
    steps: int
    seeds: int
    auc: float
    tpr: float
    source: str


@dataclass(frozen=True)
class Published:
    """The figures, and the kit of the ``model`` and the ``prompts`` that they were measured on."""

    model: str
    prompts: str
    figures: tuple[PublishedFigure, ...]


@cache
def published() -> Published:
    record = tomllib.loads(FILE.read_text(encoding="utf-8"))
    figures = tuple(PublishedFigure(**one) for one in record["figures"])
    return Published(record["model"], record["prompts"], figures)
