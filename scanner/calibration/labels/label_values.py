"""What the values of labels mean."""

import math
from dataclasses import dataclass

from scanner.errors import UserError
from scanner.run.verdicts import SEED_CONSISTENT

# Classes by the names that labels give them: ours, VM and TM of NeMo's lists, and MV (matching
# verbatim), RV (retrieved verbatim) and TV (template verbatim) of Webster's.
CLASSES = {
    "verbatim": "verbatim",
    "template": "template",
    "vm": "verbatim",
    "tm": "template",
    "mv": "verbatim",
    "rv": "verbatim",
    "tv": "template",
}
MEANINGS = {
    "true": True,
    "1": True,
    "1.0": True,
    "yes": True,
    **dict.fromkeys(CLASSES, True),
    "false": False,
    "0": False,
    "0.0": False,
    "no": False,
    "none": False,
    "n": False,
}


@dataclass(frozen=True)
class SimilarityOptions:
    """Which column holds each caption's similarity to its nearest copy, and which similarities mean
    memorized.

    ``column``: by default sscd, max_sscd or mean_sscd, or similarity of a file without labels.
    ``threshold``: the least similarity that means memorized; by default the labels beside it
    decide, or 0.7 without labels.
    """

    column: str | None = None
    threshold: float | None = None


BY_DEFAULT = SimilarityOptions()
NAME_THE_COLUMN = (
    "--similarity-threshold needs similarities: name their column with --similarity-column"
)


@dataclass(frozen=True)
class Value:
    """The text of a cell, and its location for errors."""

    text: str | None
    where: str


def is_blank(text: str | None) -> bool:
    return text is None or not text.strip()


def is_label(value: Value) -> bool:
    """Return whether a cell holds a label; a blank one does not."""
    return str(value.text).strip().lower() in {*MEANINGS, SEED_CONSISTENT}


def parse_label(value: Value, count_seed_consistent: bool) -> bool | None:
    """Return whether a label means memorized; None for a seed-consistent verdict to skip.

    Raises UserError if it is not a label.
    """
    text = str(value.text).strip().lower()
    if text == SEED_CONSISTENT:
        return True if count_seed_consistent else None
    if text not in MEANINGS:
        raise UserError(
            f"{value.where}: {value.text!r} is not a label; use one of {', '.join(MEANINGS)}"
        )
    return MEANINGS[text]


def parse_similarity(value: Value) -> float | None:
    """Return a similarity in [0, 1], None if it is blank. A negative cosine, as SSCD gives for
    unrelated images, counts as 0. Raises UserError for any other value."""
    if is_blank(value.text):
        return None
    try:
        similarity = float(str(value.text))
    except ValueError:
        similarity = math.nan
    if math.isnan(similarity):
        raise UserError(f"{value.where}: {value.text!r} is not a number; give one from 0 to 1")
    if not -1 <= similarity <= 1:
        raise UserError(
            f"{value.where}: a similarity of {similarity:g} is outside [0, 1]; divide percentages "
            "by 100, and turn distances into similarities"
        )
    return max(similarity, 0.0)


def class_of(label: str | None) -> str | None:
    """Return the class that a label states: verbatim or template, or None."""
    return CLASSES.get((label or "").strip().lower())


def parse_verdict(value: Value) -> str | None:
    """Return the class that a verdict beside a label states, or None.

    Raises UserError if it is neither blank nor a verdict.
    """
    if not is_blank(value.text):
        parse_label(value, True)
    return class_of(value.text)
