"""The rate that a dry run names, against the rate of scoring itself."""

import time
from pathlib import Path

import pytest

from scanner import Scorer, load_model
from scanner.scan import trial
from scanner.scan.trial import try_speed
from tests.whole_scans import make_captions


@pytest.fixture(scope="module")
def model(random_models: dict[str, Path]):
    return load_model(str(random_models["sd1"]), device="cpu")


def test_a_tried_rate_holds_for_warm_batches_of_its_size(model, monkeypatch) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 2.0)
    captions = make_captions(16)
    tried = try_speed(Scorer(model, "triage"), captions, 16)
    assert not tried.guessed
    assert tried.batch_size in (8, 16)
    assert tried.low < tried.rate < tried.high
    scorer = Scorer(model, "triage", batch_size=tried.batch_size)
    scorer.score(captions)
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        scorer.score(captions)
        rates.append(len(captions) / (time.perf_counter() - start))
    assert tried.low < max(rates)
    assert tried.high > min(rates)


def test_a_profile_that_takes_too_long_to_try_is_guessed_and_said_so(model, monkeypatch) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0.01)
    captions = make_captions(4)
    tried = try_speed(Scorer(model, "trajectory", batch_size=4), captions, 4)
    assert tried.guessed
    assert 8 * tried.low < tried.high
    cheap = try_speed(Scorer(model, "standard", batch_size=4), captions, 4)
    assert tried.rate < cheap.high


def test_a_batch_is_no_larger_than_a_slice(model, monkeypatch) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0.5)
    assert try_speed(Scorer(model, "triage", batch_size=64), make_captions(3), 3).batch_size == 3
