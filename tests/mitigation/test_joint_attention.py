"""Mitigation of joint attention compared with a plain computation: whole softmaxes per head."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scanner.errors import UserError
from scanner.mitigation import mitigate
from scanner.mitigation.edit import AttentionEdit
from scanner.mitigation.intervention import intervene
from scanner.mitigation.prompt_hook import PromptRows
from scanner.models.layers import attention_layers
from scanner.probe import watch_attention
from scanner.testbed import files
from tests.mitigation.latents import generate
from tests.plain_joint_attention import Edit, PlainJointAttention, plain_joint_attention
from tests.random_pipelines import make_random_pipeline
from tests.random_transformers import LAYERS, make_random_transformer

CAPTIONS = ["a red apple on a table", "", "the quick brown fox, twice: the quick brown fox"]
CLIP = 77
TRANSFORMERS = ("sd3", "sd3-t5")


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Any]:
    made = {kind: make_random_transformer(kind) for kind in TRANSFORMERS}
    for pipe in made.values():
        pipe.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(params=TRANSFORMERS)
def pipe(request: pytest.FixtureRequest, pipelines: dict[str, Any]) -> Any:
    return pipelines[request.param]


@pytest.fixture
def sd3(pipelines: dict[str, Any]) -> Any:
    return pipelines["sd3"]


def _close(left: Tensor, right: Tensor) -> bool:
    return bool((left - right).abs().max() < 1e-4 * right.abs().max())


def _hidden(pipe: Any, caption: str) -> Tensor:
    """Return which of the text's positions are padding, from the definition."""
    hidden_L = torch.ones(CLIP + 256, dtype=torch.bool)
    hidden_L[: len(pipe.tokenizer(caption)["input_ids"])] = False
    if pipe.tokenizer_3 is not None:
        hidden_L[CLIP : CLIP + len(pipe.tokenizer_3(caption)["input_ids"])] = False
    return hidden_L


def _mitigation(pipe: Any, captions: list[str], factor: float, mask: bool, guided: bool) -> Edit:
    def edit(row: int, logits_PL: Tensor) -> Tensor:
        if not guided or row >= len(captions):
            logits_PL[:, 0] *= factor
        if mask:
            logits_PL[:, _hidden(pipe, captions[row % len(captions)])] = -torch.inf
        return logits_PL

    return edit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "guidance", "factor", "mask"),
    [(1, 7.0, 1.5, True), (2, 7.0, 1.0, True), (1, 1.0, 0.5, True), (1, 3.0, 2.0, False)],
)
def test_a_mitigated_generation_equals_the_plain_computation(
    pipe: Any, images: int, guidance: float, factor: float, mask: bool
) -> None:
    def run() -> Tensor:
        return generate(pipe, CAPTIONS, num_images_per_prompt=images, guidance_scale=guidance)

    captions = [caption for caption in CAPTIONS for _ in range(images)]
    edit = _mitigation(pipe, captions, factor, mask, guidance > 1)
    with plain_joint_attention(pipe.transformer, PlainJointAttention(edit)):
        plain = run()
    stock = run()
    with mitigate(pipe, "ren", bos_scale=factor, mask_padding=mask):
        mitigated = run()
    assert _close(mitigated, plain)
    assert (stock - plain).abs().max() > 1e-2 * plain.abs().max(), "the edit has an effect"
    assert torch.equal(run(), stock), "the processors are restored"


@pytest.mark.slow
def test_chosen_text_keys_are_attenuated_exactly(pipe: Any) -> None:
    chosen = [[2, 3], [1], [5]]

    def build(rows: PromptRows) -> AttentionEdit:
        bias_NL = torch.zeros(rows.count, rows.length)
        for row, positions in enumerate(chosen):
            bias_NL[row, positions] = -3.0
        return AttentionEdit(rows.count, bias_NL)

    def edit(row: int, logits_PL: Tensor) -> Tensor:
        if row >= len(CAPTIONS):
            logits_PL[:, chosen[row - len(CAPTIONS)]] -= 3.0
        return logits_PL

    with plain_joint_attention(pipe.transformer, PlainJointAttention(edit)):
        plain = generate(pipe, CAPTIONS)
    with intervene(pipe, build):
        assert _close(generate(pipe, CAPTIONS), plain)
    assert (generate(pipe, CAPTIONS) - plain).abs().max() > 1e-3 * plain.abs().max()


@pytest.mark.slow
def test_only_the_given_steps_and_layers_are_edited(sd3: Any) -> None:
    layer, step = 1, 1
    calls, blocks = {"seen": 0}, LAYERS["sd3"]
    heads = sd3.transformer.config.num_attention_heads

    def edit(row: int, logits_PL: Tensor) -> Tensor:
        call = calls["seen"]
        calls["seen"] += 1
        forward, block = divmod(call // (2 * len(CAPTIONS) * heads), blocks)
        if (forward, block) != (step, layer):
            return logits_PL
        return _mitigation(sd3, CAPTIONS, 2.0, True, guided=True)(row, logits_PL)

    with plain_joint_attention(sd3.transformer, PlainJointAttention(edit)):
        plain = generate(sd3, CAPTIONS, steps=3)
    with mitigate(sd3, "ren", bos_scale=2.0, steps=(step,), layers=(layer,)):
        mitigated = generate(sd3, CAPTIONS, steps=3)
        again = generate(sd3, CAPTIONS, steps=3)
    assert _close(mitigated, plain)
    assert torch.equal(again, mitigated), "every generation counts its steps from 0"


@pytest.mark.slow
def test_captions_below_the_threshold_stay_bit_identical(pipe: Any) -> None:
    stock = generate(pipe, CAPTIONS)
    with mitigate(pipe, "ren", bos_scale=2.0):
        whole = generate(pipe, CAPTIONS)
    with mitigate(pipe, "ren", bos_scale=2.0, threshold=1e9) as record:
        assert torch.equal(generate(pipe, CAPTIONS), stock)
    assert record.extra_forwards == 0
    assert torch.allclose(record.noise_norm_N, _norms(pipe), rtol=1e-4, atol=1e-4)
    norm_N = record.noise_norm_N
    assert norm_N is not None
    highest, between = int(norm_N.argmax()), float(norm_N.topk(2).values.mean())
    with mitigate(pipe, "ren", bos_scale=2.0, threshold=between) as record:
        mixed = generate(pipe, CAPTIONS)
    assert record.extra_forwards == 1
    assert record.flagged_N is not None
    assert record.flagged_N.tolist() == [n == highest for n in range(len(CAPTIONS))]
    for row in range(len(CAPTIONS)):
        target = whole if row == highest else stock
        assert torch.allclose(mixed[row], target[row], atol=1e-4 * stock.abs().max())


@torch.no_grad()
def _norms(pipe: Any, time: float = 1000.0) -> Tensor:
    """Compute ‖v_c − v_∅‖ on the initial noise, one caption at a time."""
    norms, channels = [], pipe.transformer.config.in_channels
    for row, caption in enumerate(CAPTIONS):
        x_1CHW = torch.randn((1, channels, 8, 8), generator=torch.manual_seed(row))
        velocities = []
        for text in (caption, ""):
            hidden, _, pooled, _ = pipe.encode_prompt(
                text, None, None, do_classifier_free_guidance=False
            )
            velocities.append(pipe.transformer(x_1CHW, hidden, pooled, torch.tensor([time])).sample)
        norms.append((velocities[0] - velocities[1]).norm())
    return torch.stack(norms)


def _calibration(signal: str, path: Path, channels: int = 16) -> str:
    record = json.loads(files.TESTBEDS["testbed"].calibration.read_text())
    norm = next(one for one in record["thresholds"] if one["signal"] == "noise_norm_low")
    record["thresholds"] = [{**norm, "signal": signal, "threshold": 0.0}]
    record["binding"]["latent_shape"] = [channels, 8, 8]
    path.write_text(json.dumps(record))
    return str(path)


@pytest.mark.slow
def test_a_calibrated_threshold_measures_half_of_the_noise(sd3: Any, tmp_path: Path) -> None:
    calibration = _calibration("velocity_norm_mid", tmp_path / "mid.json")
    with mitigate(sd3, "ren", bos_scale=2.0, calibration=calibration) as record:
        generate(sd3, CAPTIONS, steps=2)
    assert torch.allclose(record.noise_norm_N, _norms(sd3, 500.0), rtol=1e-4, atol=1e-4)
    assert record.extra_forwards == 2  # one to measure, one to repeat the first step
    low = _calibration("noise_norm_low", tmp_path / "low.json")
    of_unet = _calibration("velocity_norm_mid", tmp_path / "unet.json", channels=4)
    for pipe, other, name in (
        (sd3, low, "noise_norm_low"),
        (make_random_pipeline("sd1"), of_unet, "velocity_norm_mid"),
    ):
        with mitigate(pipe, "ren", calibration=other), pytest.raises(UserError, match=name):
            generate(pipe, CAPTIONS)


def test_the_probe_and_the_edit_refuse_each_other(sd3: Any) -> None:
    layers = attention_layers(sd3.transformer)
    with (
        mitigate(sd3, "ren"),
        pytest.raises(UserError, match="EditingJointAttnProcessor"),
        watch_attention(sd3.transformer, layers),
    ):
        pass
    with (
        watch_attention(sd3.transformer, layers),
        pytest.raises(UserError, match="RecordingSD3AttnProcessor"),
        mitigate(sd3, "ren"),
    ):
        pass


@pytest.mark.slow
def test_unsupported_requests_are_refused_with_the_reason(pipelines: dict[str, Any]) -> None:
    pipe = pipelines["sd3-t5"]
    hidden, empty, pooled, empty_pooled = pipe.encode_prompt(CAPTIONS, None, None)
    embeddings = {
        "prompt_embeds": hidden,
        "negative_prompt_embeds": empty,
        "pooled_prompt_embeds": pooled,
        "negative_pooled_prompt_embeds": empty_pooled,
    }
    blocks = LAYERS["sd3-t5"]
    with (
        pytest.raises(UserError, match=f"0 to {blocks - 1}"),
        mitigate(pipe, "ren", layers=(blocks,)),
    ):
        pass
    with (
        mitigate(pipe, "ren", token_counts=[8, 2, 13]),
        pytest.raises(UserError, match="T5's padding"),
    ):
        generate(pipe, None, **embeddings)
    with mitigate(pipe, "ren", threshold=1.0), pytest.raises(UserError, match="negative"):
        generate(pipe, CAPTIONS, negative_prompt_3=["ugly"] * 3)
    with mitigate(pipe, "ren"), pytest.raises(UserError, match="skip-layer"):
        generate(pipe, CAPTIONS, steps=10, skip_guidance_layers=[0])
    with mitigate(pipe, "ren", bos_scale=2.0, mask_padding=False):
        by_prompt = generate(pipe, CAPTIONS)
        assert _close(generate(pipe, None, **embeddings), by_prompt)
