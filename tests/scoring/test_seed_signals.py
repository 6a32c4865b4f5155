"""Agreement of seeds: all pairs, with and without the caption's own forward at other levels."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from scanner.errors import UserError
from scanner.models import DiffusionModel, load_model
from scanner.scoring import Scorer
from scanner.scoring.profiles import PROFILES
from tests.scoring.counting import count_forwards
from tests.scoring.test_scorer import assert_same_scores
from tests.signals.test_seed_agreement import plain_ms_ssim, plain_ssim

CAPTIONS = ["a red apple on a table", "The Great Wave", ""]
SMALL, LARGE = "seed_agreement_small", "seed_agreement"


@pytest.fixture(scope="module", params=["sd1", "sd2", "sd3"])
def model(
    request: pytest.FixtureRequest,
    random_folders: dict[str, Path],
) -> DiffusionModel:
    return load_model(str(random_folders[request.param]))


@torch.no_grad()
def _pattern(
    model: DiffusionModel, caption: str, seed: int, time: float, shape: tuple[int, ...]
) -> np.ndarray:
    x = torch.randn((1, *shape), generator=torch.manual_seed(seed))
    delta = (model.predict(x, time, model.encode(model.tokenize([caption]))) - x)[0].double()
    low, high = (getattr(delta.flatten(1), one)(1)[0].view(-1, 1, 1) for one in ("min", "max"))
    return ((delta - low) / (high - low)).numpy()


def _expected(model: DiffusionModel, caption: str, time: float, shape: tuple[int, ...], compare):
    patterns = [_pattern(model, caption, seed, time, shape) for seed in range(3)]
    return np.mean([compare(a, b) for a, b in combinations(patterns, 2)])


@pytest.mark.slow
@pytest.mark.parametrize("level", ["", "@761"])
def test_the_score_is_the_mean_over_all_pairs(model: DiffusionModel, level: str) -> None:
    rows = Scorer(model, signals=(SMALL + level,), seeds=3, batch_size=2).score(CAPTIONS)
    time, shape = 761 if level else model.noise_process.timesteps(50)[0], model.latent_shape()
    expected = [_expected(model, one, time, shape, plain_ssim) for one in CAPTIONS]
    column = rows[SMALL + level.replace("@", "_")].to_pylist()
    assert column == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_large_latents_are_compared_at_three_scales(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd1"]))
    side = 44 * model.pixels_per_latent
    options = {"height": side, "width": side, "seeds": 3}
    row = Scorer(model, signals=(LARGE, SMALL), **options).score(CAPTIONS[:1]).to_pylist()[0]
    assert row[LARGE] == pytest.approx(
        _expected(model, CAPTIONS[0], 981, (4, 44, 44), plain_ms_ssim), abs=1e-4
    )
    assert {LARGE, SMALL} <= {signal.name for signal in Scorer(model, "all", **options).signals}


@pytest.mark.slow
def test_scores_do_not_depend_on_batches_or_order(model: DiffusionModel) -> None:
    scorer = Scorer(model, signals=(SMALL,), seeds=3, batch_size=8)
    whole = scorer.score(CAPTIONS)
    single = Scorer(model, signals=(SMALL,), seeds=3, batch_size=1).score(CAPTIONS)
    assert_same_scores(whole, single, 1e-4)
    assert_same_scores(whole, scorer.score(CAPTIONS[::-1]).take([2, 1, 0]), 1e-4)


@pytest.mark.slow
def test_no_forward_without_the_caption_runs(
    random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(load_model(str(random_models["sd1"])), signals=(SMALL,), seeds=2)
    assert not scorer.schedule.unconditional
    assert scorer.schedule.forwards == 1
    scorer.score(CAPTIONS)  # also runs what all captions share, up to the first attention
    calls = count_forwards(monkeypatch)
    scorer.score(CAPTIONS)
    assert len(calls) == 2
    with_norm = Scorer(scorer.model, signals=(SMALL, "noise_norm_first"), seeds=2)
    assert with_norm.schedule.forwards == 1, "both are of the same forward"
    assert len(with_norm.schedule.unconditional) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal", "options", "reason"),
    [
        (SMALL, {"seeds": 1}, "it compares initial noises; set --seeds to at least 2"),
        (LARGE, {"seeds": 2}, "latents of at least 44 x 44 pixels"),
        (SMALL, {"seeds": 2, "height": 48, "width": 48}, "latents of at least 7 x 7 pixels"),
        ("score_change", {"steps": 1}, "it compares the first two steps; set --steps"),
        ("cosine_v_low_noise", {}, "it is of v-predictions, and this model predicts the noise"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_reason(
    random_models: dict[str, Path], signal: str, options: dict, reason: str
) -> None:
    with pytest.raises(UserError, match=f"signal {signal} cannot be measured on .*{reason}"):
        Scorer(load_model(str(random_models["sd1"])), signals=(signal,), **options)


@pytest.mark.slow
def test_the_profile_all_leaves_out_what_cannot_be_measured(model: DiffusionModel) -> None:
    names = {signal.name for signal in Scorer(model, "all", steps=5).signals}
    one_seed = {signal.name for signal in Scorer(model, "all", seeds=1, steps=5).signals}
    assert PROFILES["all"].seeds == 2
    assert names - one_seed == {SMALL}
    assert LARGE not in names
    assert {"curvature", "condition_jacobian", "gradient_gap", "score_change"} <= one_seed
    assert ("cosine_v_low_noise" in names) == ("v_prediction" in model.traits)
    rows, bad = Scorer(model, "all", steps=3).score_finite(CAPTIONS)
    assert (len(rows), bad) == (len(CAPTIONS), {})
