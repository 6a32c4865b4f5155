"""Explanations compared with plain forwards, the score table, and edited captions."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scanner.evidence.explain import Explanation, explain
from scanner.evidence.explain.scores import SCORES
from scanner.models import DiffusionModel, find_model, load_decoder, load_model
from scanner.scoring import Scorer, ScoringSpec
from tests.random_pipelines import LAYERS
from tests.scoring.test_trajectory import _attention, _raw

CAPTION = "the Great Wave, a red print"
OTHERS = ["a red apple on a table", "x", "two dogs"]
STEPS = 3


@pytest.fixture(scope="module", params=("sd1", "sdxl"))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_models: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_models[kind]))


@pytest.fixture(scope="module")
def decode(kind: str, random_models: dict[str, Path]) -> Callable[[torch.Tensor], torch.Tensor]:
    return load_decoder(find_model(str(random_models[kind])), "cpu")


@pytest.fixture(scope="module")
def found(model: DiffusionModel, decode) -> Explanation:
    return explain(model, decode, CAPTION, OTHERS, ScoringSpec(steps=STEPS))


def test_curves_start_at_the_scores_of_a_scan(model: DiffusionModel, found: Explanation) -> None:
    row = Scorer(model, "trajectory", steps=STEPS).score([CAPTION]).to_pylist()[0]
    curves = {curve.name: curve.values for curve in found.curves}
    assert all(len(values) == STEPS for values in curves.values())
    assert curves["noise_norm"][0] == pytest.approx(row["noise_norm_first"], rel=1e-4)
    assert sum(curves["noise_norm"]) / STEPS == pytest.approx(row["noise_norm_mean"], rel=1e-3)
    for name in ("bos_mass", "prompt_mass", "summary_mass", "entropy_e"):
        assert curves[name][0] == pytest.approx(row[name], abs=1e-5), name
    for score in found.scores:
        assert score.value == pytest.approx(row[score.name], abs=1e-5), score.name


def test_the_band_comes_only_from_held_out_captions(
    model: DiffusionModel, decode, found: Explanation
) -> None:
    alone = [explain(model, decode, other, scoring=ScoringSpec(steps=STEPS)) for other in OTHERS]
    for number, curve in enumerate(found.curves):
        values = torch.tensor([one.curves[number].values for one in alone])
        assert torch.allclose(torch.tensor(curve.median), values.median(0).values, atol=1e-4)
        assert all(
            values[:, step].min() - 1e-5 <= low <= high <= values[:, step].max() + 1e-5
            for step, (low, high) in enumerate(zip(curve.low, curve.high, strict=True))
        )
        assert alone[0].curves[number].low == []
    assert found.scores[0].others == pytest.approx([one.scores[0].value for one in alone], rel=1e-4)


def test_shares_of_all_tokens_sum_to_one(found: Explanation, kind: str) -> None:
    layers = LAYERS[kind]
    assert found.steps_ST.shape == (STEPS, len(found.tokens))
    assert found.layers_NT.shape == found.layers_mean_NT.shape == (layers, len(found.tokens))
    for shares in (found.steps_ST, found.layers_NT, found.layers_mean_NT):
        assert torch.allclose(shares.sum(-1), torch.ones(len(shares)), atol=1e-4)
    everywhere = torch.full((8, 8), float(STEPS * layers))
    assert torch.allclose(found.heat_THW.sum(0), everywhere, rtol=1e-4)


@torch.no_grad()
def test_a_heat_map_is_the_sum_over_all_layers(model: DiffusionModel, decode) -> None:
    """One step: the maps of the stock U-Net, caught by hooks, grown to the latent's size."""
    found = explain(model, decode, CAPTION, scoring=ScoringSpec(steps=1), seed=5)
    scorer = Scorer(model, steps=1)
    text = model.encode(model.tokenize([CAPTION]), scorer.latent_shape)
    noise, time = scorer.forwards.initial_noise(5), scorer.forwards.first_time
    summed = torch.zeros(77, 8, 8)
    for map_HPL in _attention(model, lambda: _raw(model, noise, time, text)):
        side = int(map_HPL.shape[1] ** 0.5)
        square = map_HPL.mean(0).T.reshape(1, 77, side, side)
        summed += torch.nn.functional.interpolate(square, (8, 8), mode="bilinear")[0]
    n = len(found.tokens) - 1
    assert torch.allclose(found.heat_THW[:n], summed[:n], atol=1e-4)
    assert found.heat_THW[:n].std(dim=(1, 2)).min() > 0, "the maps must not be flat"


def test_each_word_has_the_scores_of_the_caption_without_it(
    model: DiffusionModel, found: Explanation
) -> None:
    assert [word.text for word in found.words] == ["the", "Great", "Wave", ",", "a", "red", "print"]
    typed = [
        "Great Wave, a red print",
        "the Wave, a red print",
        "the Great, a red print",
        "the Great Wave a red print",
        "the Great Wave, red print",
        "the Great Wave, a print",
        "the Great Wave, a red",
    ]
    rows = Scorer(model, signals=SCORES, steps=STEPS).score(typed).to_pylist()
    for word, row in zip(found.words, rows, strict=True):
        for name, value in word.ablated_scores.items():
            assert value == pytest.approx(row[name], abs=1e-5, rel=1e-4), (word.text, name)


def test_words_sum_the_attention_and_gradient_of_their_tokens(
    model: DiffusionModel, found: Explanation
) -> None:
    row = Scorer(model, steps=STEPS).score([CAPTION]).to_pylist()[0]
    slopes = Scorer(model, signals=("token_gradient",), steps=STEPS).score([CAPTION])
    gradient = slopes["token_gradient"][0].as_py()
    for word in found.words:
        mass = sum(row["token_mass"][position] for position in word.positions)
        assert word.attention == pytest.approx(mass, abs=1e-5)
        slope = sum(gradient[position] for position in word.positions)
        assert word.gradient == pytest.approx(slope, rel=1e-3)
    named = {(word.start, word.end) for word in found.words if word.trigger}
    assert named == {(trigger["start"], trigger["end"]) for trigger in row["triggers"]}


def test_the_record_is_json_with_the_content_of_the_page(found: Explanation) -> None:
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["caption"] == CAPTION
    assert record["tokens"][0] == "(BOS)"
    assert len(record["steps"]) == STEPS
    assert record["words"][1]["without"].keys() == {score["name"] for score in record["scores"]}
    assert "picture" not in record


@pytest.mark.parametrize("caption", ["", "x", "<|endoftext|>", "word " * 200])
def test_empty_and_overlong_captions_are_explained(random_models, caption: str) -> None:
    files = find_model(str(random_models["sd1"]))
    model, decode = load_model(files), load_decoder(files, "cpu")
    found = explain(model, decode, caption, scoring=ScoringSpec(steps=1))
    assert found.truncated == (len(caption) > 100)
    assert len(found.tokens) == min(77, int(model.tokenize([caption]).n_B[0])) + 1
    if found.truncated:
        assert found.read_to == len("word " * 75) - 1
