"""Captions to score table: what each signal needs, the forwards that serve it, trigger words."""

from typing import TYPE_CHECKING, Any

from scanner.scoring.spec import ScoringSpec

if TYPE_CHECKING:
    from scanner.scoring.scorer import ScoreError, Scorer

__all__ = ["ScoreError", "Scorer", "ScoringSpec"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: a command's options are shown without torch.
    if name in ("ScoreError", "Scorer"):
        from scanner.scoring import scorer

        return getattr(scorer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
