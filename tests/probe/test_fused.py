import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from scanner.models import load_model
from scanner.probe import RecordingUNet, choose_attend
from scanner.probe.attention import plain_attention
from scanner.probe.choice import OUTPUT_TOLERANCE, checked

ROOT = Path(__file__).parents[2]
HEADS = [(2, 40), (1, 64)]
CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")
def test_the_fused_kernel_equals_the_plain_attention() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.probe.interpreted"],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) == 18
    limits = {str(dtype): limit for dtype, limit in OUTPUT_TOLERANCE.items()}
    for case in cases:
        assert case["output"] <= limits[case["dtype"]], case
        assert case["abar"] <= 1e-6, case
        assert case["spread"] > 1e-4, "a uniform map would not test anything"
        assert case["without_v"], case


@pytest.mark.slow
def test_a_cpu_uses_the_plain_attention(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd1"]))
    assert choose_attend(model.unet, model.layers) is plain_attention


def test_a_matching_kernel_is_used_without_a_warning() -> None:
    def same(*inputs):
        return plain_attention(*inputs)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checked(same, HEADS, CPU, torch.float16) is same


@pytest.mark.parametrize("part", [0, 1])
def test_a_kernel_that_differs_is_refused_with_a_warning(part: int) -> None:
    def wrong(q, k, v, scale):
        results = list(plain_attention(q, k, v, scale))
        results[part] = results[part] * (1.1 if q.shape[-1] == 64 else 1.0)
        return tuple(results)

    with pytest.warns(UserWarning, match="differs: .* with 64 channels"):
        assert checked(wrong, HEADS, CPU, torch.float32) is plain_attention


def test_a_kernel_that_fails_or_returns_nan_is_refused() -> None:
    def broken(q, k, v, scale):
        output, abar = plain_attention(q, k, v, scale)
        return output * float("nan"), abar

    def failing(*_):
        raise OSError("no C compiler")

    with pytest.warns(UserWarning, match="differs: output by nan"):
        assert checked(broken, HEADS, CPU, torch.float32) is plain_attention
    with pytest.warns(UserWarning, match="does not run .OSError: no C compiler"):
        assert checked(failing, HEADS, CPU, torch.float32) is plain_attention


@pytest.mark.slow
@torch.no_grad()
def test_the_chosen_attention_runs_in_every_layer(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd1"]))
    outputs = []

    def counted(q, k, v, scale):
        outputs.append(v is not None)
        return plain_attention(q, k, v, scale)

    text = model.encode(model.tokenize(["a cat"]))
    latent = torch.randn(1, *model.latent_shape())
    for depth in (None, 4):
        recording = RecordingUNet(model.unet, model.layers, depth, counted)
        recording.load(latent, 981, {})
        recording(text.hidden_BLC, text.added)
    assert outputs == [True] * 16 + [True] * 3 + [False]
