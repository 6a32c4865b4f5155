"""Captions to score table: what each signal needs, the forwards that serve it, trigger words."""

from scanner.scoring.scorer import PROFILES, ScoreError, Scorer

__all__ = ["PROFILES", "ScoreError", "Scorer"]
