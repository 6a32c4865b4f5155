"""Training of Stable Diffusion 3: its noise, its guard, and memscan finetune."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from PIL import Image

from scanner.errors import UsageError
from scanner.mitigation import Guard
from scanner.mitigation.finetune import encode_empty_caption, finetune
from scanner.mitigation.guard_signals import Signal
from scanner.mitigation.training_images import TrainingImages
from scanner.mitigation.training_noise import add_noise
from scanner.mitigation.training_options import TrainingOptions
from scanner.models import find_model, load_model
from scanner.models.decoding import load_vae
from scanner.signals.attention import attention_entropy
from tests.memscan import called
from tests.plain_joint_attention import PlainJointAttention, plain_joint_attention
from tests.random_transformers import KINDS as TRANSFORMERS

CAPTIONS = ["a red apple on a table", "", "the quick brown fox, twice: the quick brown fox"]
TIMES = torch.tensor([981.0, 400.0, 20.0])


@pytest.fixture(params=TRANSFORMERS)
def model(request: pytest.FixtureRequest, random_transformers: dict[str, Path]) -> Any:
    return load_model(str(random_transformers[request.param]))


def _forward(model: Any) -> torch.Tensor:
    noise = torch.randn(3, *model.latent_shape(), generator=torch.manual_seed(1))
    text = model.encode(model.tokenize(CAPTIONS))
    pooled = text.added["pooled_projections"]
    return model.transformer(noise, text.hidden_BLC, pooled, TIMES).sample


def _signals(model: Any) -> dict[Signal, torch.Tensor]:
    """Compute each signal of layers 0 and 2 plainly."""
    plain = PlainJointAttention()
    with plain_joint_attention(model.transformer, plain), torch.no_grad():
        velocity = _forward(model)
    abar = [seen.mean((1, 2)) for seen in (plain.seen[0], plain.seen[2])]
    share = torch.stack([one.sum(-1) for one in abar]).mean(0)
    abar = [one / one.sum(-1, keepdim=True) for one in abar]
    words_BL = model.tokenize(CAPTIONS).words_BL
    words = torch.stack([(one * words_BL).sum(-1) for one in abar]).mean(0)
    noise = torch.randn(3, *model.latent_shape(), generator=torch.manual_seed(1))
    empty = model.encode_empty().expand(3)
    with torch.no_grad():
        without = model.run(model.transformer, noise, TIMES, empty.hidden_BLC, empty.added)
    return {
        "entropy": torch.stack([attention_entropy(one) for one in abar]).mean(0),
        "bos_mass": torch.stack([one[:, 0] for one in abar]).mean(0),
        "prompt_mass": words,
        "text_share": share,
        "noise_norm": (velocity - without).flatten(1).norm(dim=1),
    }


@pytest.mark.slow
def test_a_guard_reads_the_signal_and_keeps_the_gradients(model: Any) -> None:
    def gradients() -> torch.Tensor:
        model.transformer.zero_grad()
        _forward(model).square().mean().backward()
        grads = [weight.grad for weight in model.transformer.parameters()]
        return torch.cat([grad.flatten() for grad in grads if grad is not None])

    model.transformer.requires_grad_(True)
    expected = gradients()
    for signal, values in _signals(model).items():
        between = (values[0] + values[2]).item() / 2  # row 1 has no caption
        empty = encode_empty_caption(model)
        with Guard(
            model.transformer, signal, (0, 2), between, empty=empty, tokenize=model.tokenize
        ) as guard:
            assert torch.allclose(gradients(), expected, rtol=1e-3, atol=1e-4)
            weight = guard.loss_weights(TIMES, ["a", "b", "c"], CAPTIONS)
        excluded = "a" if (values[2] > values[0]) == (signal == "bos_mass") else "c"
        assert weight.tolist() == [float(excluded != "a"), 1.0, float(excluded != "c")], signal
        (row,) = guard.exclusions.table(signal).to_pylist()
        assert row[f"mean_{signal}"] == pytest.approx(
            values[0 if excluded == "a" else 2].item(), rel=1e-4
        )
    with pytest.raises(UsageError, match="pooled_projections"):
        Guard(model.transformer, "noise_norm", (0,), empty={"encoder_hidden_states": TIMES})


@pytest.mark.slow
def test_noise_is_mixed_by_flow_matching(random_transformers: dict[str, Path]) -> None:
    model = load_model(str(random_transformers["sd3"]))
    model.noise_process.timesteps(7)  # a scan's schedule is not that of training
    x0 = torch.randn(4000, *model.latent_shape(), generator=torch.manual_seed(2))
    noisy = add_noise(model, x0, torch.Generator().manual_seed(3))
    sigma_B111 = (noisy.times_B / 1000).view(-1, 1, 1, 1)
    noise = noisy.target_BCHW + x0
    assert torch.allclose(noisy.x_BCHW, (1 - sigma_B111) * x0 + sigma_B111 * noise, atol=1e-5)
    assert abs(float(noise.mean())) < 0.01
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    # The shift of 3 moves the logit by ln 3; that of u is normal.
    sigma_B = sigma_B111.flatten()
    logit_B = (sigma_B / (1 - sigma_B)).log()[sigma_B < 1] - torch.tensor(3.0).log()
    assert float(logit_B.mean()) == pytest.approx(0, abs=0.06)
    assert float(logit_B.std()) == pytest.approx(1, abs=0.06)


def _image(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


@pytest.mark.slow
def test_training_lowers_the_velocity_loss(random_transformers: dict[str, Path]) -> None:
    files = find_model(str(random_transformers["sd3"]))
    model = load_model(files, dtype="float32", device="cpu")
    images = TrainingImages.from_rows([("0", "a red apple", _image(0))])
    losses: list[float] = []
    options = TrainingOptions(steps=40, batch=8, rate=3e-3)
    finetune(model, load_vae(files), images, options, None, lambda _, loss: losses.append(loss))
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


@pytest.mark.slow
def test_finetune_saves_a_pipeline_that_scans(
    random_transformers: dict[str, Path], tmp_path: Path
) -> None:
    table = {"caption": ["a red apple", "two dogs"], "image": [_image(0), _image(1)]}
    pq.write_table(pa.table(table), tmp_path / "images.parquet")
    done = called(
        *("finetune", "--data", str(tmp_path / "images.parquet"), "--out", str(tmp_path / "tuned")),
        *("--model", str(random_transformers["sd3-t5"]), "--guard", "noise_norm", "--json"),
        *("--steps", "2", "--batch", "2", "--layers", "0", "--device", "cpu"),
    )
    record = json.loads(done.stdout)
    assert record["steps"] == 2
    assert record["extra_forwards"] == 2
    tuned = StableDiffusion3Pipeline.from_pretrained(tmp_path / "tuned")
    before = load_model(str(random_transformers["sd3-t5"]))
    changed = [
        not torch.equal(weight, before.denoiser.state_dict()[name])
        for name, weight in tuned.transformer.state_dict().items()
    ]
    assert any(changed)
    assert load_model(str(tmp_path / "tuned")).family == "stable-diffusion-3"
