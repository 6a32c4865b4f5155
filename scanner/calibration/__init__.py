"""Labels and scores: how well a signal separates memorized captions from the others."""

from scanner.calibration.evaluation import Evaluation, evaluate
from scanner.calibration.separation import Separation, separation

__all__ = ["Evaluation", "Separation", "evaluate", "separation"]
