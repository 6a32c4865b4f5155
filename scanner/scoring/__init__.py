"""Score captions: signals, the forwards that they require, and trigger words."""

from typing import TYPE_CHECKING, Any

from scanner.scoring.spec import ScoringSpec

if TYPE_CHECKING:
    from scanner.scoring.scorer import ScoreError, Scorer

__all__ = ["ScoreError", "Scorer", "ScoringSpec"]


def __getattr__(name: str) -> Any:
    # Import on first use, to print a command's options without importing torch.
    if name in ("ScoreError", "Scorer"):
        from scanner.scoring import scorer

        return getattr(scorer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
