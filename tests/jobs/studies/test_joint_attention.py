"""The joint-attention study's page, on made-up scores."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs.studies.joint_attention import measurements, page
from jobs.studies.joint_attention.measurements import Evaluated
from scanner.calibration import LayerEvaluation, Separation
from scanner.calibration.evaluation.separation import auc_gain, separation
from scanner.calibration.layers import SelectedLayer
from scanner.scoring.catalog import find_signal

CAPTIONS, KNOWN = 200, 40


def _separated(gap: float) -> Separation:
    memorized = np.arange(CAPTIONS) < KNOWN
    scores = np.random.default_rng(0).normal(size=CAPTIONS) + gap * memorized
    return separation(scores, memorized, np.arange(CAPTIONS))


@pytest.fixture
def model() -> Evaluated:
    scores: Any = SimpleNamespace(
        signals={"velocity_norm_mid": _separated(8.0), "noise_norm_first": _separated(1.0)},
        text_only={"n_tokens": _separated(0.0)},
    )
    memorized = np.arange(CAPTIONS) < KNOWN
    better, worse = memorized + 0.0, np.random.default_rng(1).normal(size=CAPTIONS)
    share = _separated(3.0)
    return Evaluated(
        seed=0,
        groups={"memorized": (71, 72), "heldout": (0, 520)},
        scores=scores,
        layers=LayerEvaluation(
            {"text_share_layers": [share, _separated(0.1)]},
            {"text_share_layers": SelectedLayer(0, 1, share)},
        ),
        combinations={"attention, first step": _separated(2.0)},
        gain=auc_gain(better, worse, memorized, np.arange(CAPTIONS)),
        trajectory={name: _separated(1.0) for name in measurements.TRAJECTORY},
    )


def test_the_page_has_a_column_per_model_and_no_gaps(model: Evaluated) -> None:
    text = page.render([model, replace(model, seed=1, trajectory={})])
    assert "{" not in text
    assert "| group | seed 0 | seed 1 |" in text
    assert "| memorized | 71 of 72 | 71 of 72 |" in text
    assert "| `velocity_norm_mid` | 1.000 (1.000–1.000); 1.00 | 1.000" in text
    assert "| `text_share_layers` | seed 1 |" in text
    assert "| `entropy_d` |" in text  # of the packaged model only


def test_every_scanned_signal_exists_and_is_scored_once() -> None:
    names = [find_signal(name).name for name in measurements.SIGNALS]
    assert len(names) == len(set(names))
    taken = {name for inputs in measurements._combinations().values() for name in inputs}
    assert taken <= set(names)
