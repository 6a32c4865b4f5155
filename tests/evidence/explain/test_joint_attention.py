"""Explanations of Stable Diffusion 3, compared with plain forwards and with the score table."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scanner.evidence.explain import Explanation, explain, render_explanation
from scanner.models import DiffusionModel, find_model, load_decoder, load_model
from scanner.scoring import Scorer, ScoringSpec
from tests.plain_joint_attention import PlainJointAttention, plain_joint_attention
from tests.random_transformers import KINDS, PATCH

CAPTION = "the Great Wave, a red print"
OTHERS = ["a red apple on a table", "x", "two dogs"]
STEPS = 3
CLIP = 77


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_transformers: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_transformers[kind]))


@pytest.fixture(scope="module")
def found(kind: str, random_transformers: dict[str, Path], model: DiffusionModel) -> Explanation:
    decode = load_decoder(find_model(str(random_transformers[kind])), "cpu")
    return explain(model, decode, CAPTION, OTHERS, ScoringSpec(steps=STEPS))


def test_curves_start_at_the_scores_of_a_scan(model: DiffusionModel, found: Explanation) -> None:
    row = Scorer(model, "trajectory", steps=STEPS).score([CAPTION]).to_pylist()[0]
    curves = {curve.name: curve.values for curve in found.curves}
    assert all(len(values) == STEPS for values in curves.values())
    assert curves["noise_norm"][0] == pytest.approx(row["noise_norm_first"], rel=1e-4)
    assert sum(curves["noise_norm"]) / STEPS == pytest.approx(row["noise_norm_mean"], rel=1e-3)
    for name in ("text_share", "bos_mass", "prompt_mass", "summary_mass", "entropy_e"):
        assert curves[name][0] == pytest.approx(row[name], abs=1e-5), name
    assert [score.name for score in found.scores][:3] == [
        *("velocity_norm_mid", "noise_norm_first", "text_share")
    ]
    for score in found.scores:
        assert score.value == pytest.approx(row[score.name], rel=1e-4), score.name


@torch.no_grad()
def test_attention_is_that_of_a_plain_computation(
    kind: str, random_transformers: dict[str, Path], model: DiffusionModel
) -> None:
    """One step: ā, the text's share and the heat maps from whole softmaxes."""
    decode = load_decoder(find_model(str(random_transformers[kind])), "cpu")
    found = explain(model, decode, CAPTION, scoring=ScoringSpec(steps=1), seed=5)
    run = Scorer(model, steps=1).forwards
    tokens, plain = model.tokenize([CAPTION]), PlainJointAttention()
    with plain_joint_attention(model.denoiser, plain):
        model.predict(run.initial_noise(5), run.first_time, model.encode(tokens))
    grid = (8 // PATCH[kind],) * 2
    n, shares, of_text, heat = int(tokens.n_B[0]), [], [], torch.zeros(CLIP + 256, 8, 8)
    for seen_BHPL in plain.seen:
        map_PL = seen_BHPL[0].mean(0)
        shares.append(map_PL.sum(-1).mean())
        of_text.append(map_PL.mean(0) / shares[-1])
        square = (map_PL / shares[-1]).T.unflatten(-1, grid)[None]
        heat += torch.nn.functional.interpolate(square, (8, 8), mode="bilinear")[0]
    words = ["(words of T5)"] if model.tokenizer_3 else []  # type: ignore[attr-defined]
    assert bool(words) == kind.endswith("t5")
    assert found.tokens[n - 1 :] == [*words, "(EOS)", "(padding)"]
    assert torch.allclose(found.layers_NT, _merged(model, torch.stack(of_text), n), atol=1e-5)
    assert torch.allclose(
        found.heat_THW.movedim(0, -1), _merged(model, heat.movedim(0, -1), n), atol=1e-4
    )
    early = torch.stack(shares)[list(model.early_layers)].mean()
    (curve,) = [curve for curve in found.curves if curve.name == "text_share"]
    assert curve.values == [pytest.approx(float(early), rel=1e-4)]


def _merged(model: DiffusionModel, values_XL: Tensor, n: int) -> Tensor:
    """Merge the positions after the caption's tokens, from the text's layout."""
    end = CLIP
    parts = [values_XL[..., : n - 1]]
    if model.tokenizer_3:  # type: ignore[attr-defined]
        end += len(model.tokenizer_3(CAPTION)["input_ids"]) - 1  # type: ignore[attr-defined]
        parts.append(values_XL[..., CLIP:end].sum(-1, keepdim=True))
    padding = values_XL[..., n:CLIP].sum(-1) + values_XL[..., end:].sum(-1)
    return torch.cat([*parts, values_XL[..., n - 1 : n], padding[..., None]], -1)


def test_shares_of_all_tokens_sum_to_one(model: DiffusionModel, found: Explanation) -> None:
    shape = (len(model.layers), len(found.tokens))
    assert found.layers_NT.shape == found.layers_mean_NT.shape == shape
    for shares in (found.steps_ST, found.layers_NT, found.layers_mean_NT):
        assert torch.allclose(shares.sum(-1), torch.ones(len(shares)), atol=1e-4)
    mean = found.heat_THW.sum(0).mean()
    assert float(mean) == pytest.approx(STEPS * len(found.layers_NT), rel=1e-3)


def test_the_page_names_velocity_and_joint_attention(found: Explanation) -> None:
    page = render_explanation(found, "sd3")
    for text in ("text-conditional velocity", "joint-attention layers", "of Euler", "0 to 1 are"):
        assert text in page, text
    words = re.sub(r'data:image/[^"]+', "", page)  # images spell any letters
    for text in ("cross-attention layers", "DDIM", "text-conditional noise is"):
        assert text not in words, text
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert {word["text"] for word in record["words"]} >= {"Great", "Wave"}
    assert record["words"][0]["without"].keys() == {score["name"] for score in record["scores"]}
