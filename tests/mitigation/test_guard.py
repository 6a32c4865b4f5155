"""The guard reads the training forward, weighs what is memorized to nothing, and lists it."""

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DiffusionPipeline

from scanner.errors import UserError
from scanner.mitigation import Guard
from scanner.mitigation.finetune import empty_caption
from scanner.mitigation.pictures import read_pictures
from scanner.mitigation.threshold import RunningQuantile
from scanner.models import load_model
from scanner.probe import watch_attention
from scanner.signals.attention import attention_entropy, beginning_mass
from scanner.testbed import files, labels

README = Path(__file__).parents[2] / "scanner/README.md"
CAPTIONS = ["a red apple on a table", "", "The Quick brown fox, twice: the quick brown fox"]
TIMES = torch.tensor([981, 400, 20])


@pytest.fixture(params=("sd1", "sd2", "sdxl"))
def model(request: pytest.FixtureRequest, random_models: dict[str, Path]) -> Any:
    return load_model(str(random_models[request.param]))


def _forward(model: Any) -> torch.Tensor:
    noise = torch.randn(3, *model.latent_shape(), generator=torch.manual_seed(1))
    text = model.encode(model.tokenize(CAPTIONS))
    return model.unet(
        noise, TIMES, text.hidden_BLC, added_cond_kwargs=text.added or None, return_dict=False
    )[0]


def test_the_training_forward_is_unchanged_gradients_too_and_its_signal_is_read(model: Any) -> None:
    def gradients() -> torch.Tensor:
        model.unet.zero_grad()
        _forward(model).square().mean().backward()
        return torch.cat([weight.grad.flatten() for weight in model.unet.parameters()])

    model.unet.requires_grad_(True)
    plain, expected = _forward(model).detach(), gradients()
    with watch_attention(model.unet, model.layers) as record, torch.no_grad():
        _forward(model)
        entropy = torch.stack([attention_entropy(record.abar_NBL[n]) for n in (1, 3)]).mean(0)
        mass = torch.stack([beginning_mass(record.abar_NBL[n]) for n in (1, 3)]).mean(0)
        empty = model.encode_empty()
        noise = torch.randn(3, *model.latent_shape(), generator=torch.manual_seed(1))
        told = {name: one.expand(3, *one.shape[1:]) for name, one in empty.added.items()}
        bare = model.unet(
            noise, TIMES, empty.hidden_BLC.expand(3, -1, -1), added_cond_kwargs=told or None
        ).sample
    norm = (plain - bare).flatten(1).norm(dim=1)
    for signal, values in (("entropy", entropy), ("bos_mass", mass), ("noise_norm", norm)):
        between = (values[0] + values[2]).item() / 2  # row 1 has no caption
        guard = Guard(model.unet, signal, (1, 3), between, empty=empty_caption(model))
        with guard:
            assert torch.allclose(gradients(), expected, rtol=1e-3, atol=1e-6)
            weight = guard.weigh(TIMES, ["a", "b", "c"], CAPTIONS)
        higher = values[2] > values[0]
        left_out = "a" if higher == (signal == "bos_mass") else "c"
        assert weight.tolist() == [float(left_out != "a"), 1.0, float(left_out != "c")]
        (row,) = guard.left_out.table(signal).to_pylist()
        assert (row["key"], row["left_out"], row["seen"]) == (left_out, 1, 1)
        assert row[f"mean_{signal}"] == pytest.approx(
            values[0 if left_out == "a" else 2].item(), rel=1e-5
        )
        assert guard.extra_forwards == (signal == "noise_norm")
        assert torch.allclose(_forward(model), plain, atol=1e-6), "nothing is left behind"


def test_weights_need_a_forward_of_the_same_rows(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd1"]))
    with Guard(model.unet, "bos_mass", threshold=0.5) as guard:
        with pytest.raises(UserError, match="no forward has run"):
            guard.weigh(TIMES, ["a", "b", "c"], CAPTIONS)
        _forward(model)
        with pytest.raises(UserError, match="3 rows ran"):
            guard.weigh(TIMES, ["a"], CAPTIONS)
    with pytest.raises(UserError, match="empty"):
        Guard(model.unet, "noise_norm")


def test_a_soft_guard_falls_smoothly_to_a_half_at_the_threshold(
    random_models: dict[str, Path],
) -> None:
    model = load_model(str(random_models["sd1"]))
    found = {}
    for share in (0.5, 1.0, 2.0):
        with Guard(model.unet, "bos_mass", threshold=0.5, softness=0.5) as probe:
            _forward(model)
            mass = probe._statistic_B[0].item()
        with Guard(model.unet, "bos_mass", threshold=mass * share, softness=0.5) as guard:
            _forward(model)
            found[share] = guard.weigh(TIMES, ["a", "b", "c"], CAPTIONS)[0].item()
    assert found[1.0] == pytest.approx(0.5)
    assert found[0.5] > 0.98
    assert found[2.0] < 0.02


def test_a_running_quantile_knows_what_is_usual_at_each_noise_level() -> None:
    usual = RunningQuantile(0.9, bins=2, window=100, warmup=10)
    early, late = torch.full((100,), 100), torch.full((100,), 900)
    assert usual.at(torch.tensor([100])).isnan(), "nothing is left out before it knows"
    usual.see(early, torch.linspace(0, 1, 100), 1.0)
    usual.see(late, torch.linspace(10, 20, 100), 1.0)
    assert usual.at(torch.tensor([0, 499, 500, 999])).tolist() == pytest.approx([0.9, 0.9, 19, 19])
    lower = RunningQuantile(0.9, bins=1, warmup=10)
    lower.see(early, torch.linspace(0, 1, 100), -1.0)
    assert lower.at(torch.tensor([0])).item() == pytest.approx(0.1), "memorized is lower here"
    usual.see(early, torch.full((100,), 7.0), 1.0)
    assert usual.at(torch.tensor([0])).item() == 7, "it follows what it sees"
    assert usual.fixed().at(torch.tensor([0, 999])).tolist() == pytest.approx([7, 19])


def test_memorized_samples_of_the_testbed_are_what_a_guard_leaves_out(tmp_path: Path) -> None:
    """One look at memorized and held-out captions: half are left out, and the list says which."""
    model = load_model("testbed", dtype="float32")
    rows = labels().to_pylist()
    memorized = [row["caption"] for row in rows if row["memorized"]][::8]
    clean = [row["caption"] for row in rows if row["group"] == "heldout"][: len(memorized)]
    captions = [*memorized, *clean]
    times = torch.full((len(captions),), 900)
    noise = torch.randn(len(captions), *model.latent_shape(), generator=torch.manual_seed(0))
    usual = RunningQuantile(0.5, bins=1, warmup=len(captions))
    guard = Guard(model.unet, "noise_norm", threshold=usual, empty=empty_caption(model))
    with guard:
        for expected in ({1.0}, {0.0, 1.0}):  # the first step only tells what is usual
            model.unet(noise, times, model.encode(model.tokenize(captions)).hidden_BLC)
            assert set(guard.weigh(times, captions, captions).tolist()) == expected
    out = tmp_path / "left-out.parquet"
    assert guard.removal_list(out) == len(captions) // 2
    listed = pq.read_table(out).to_pylist()
    assert all(row["left_out"] == 1 and row["seen"] == 2 for row in listed)
    assert sum(row["caption"] in memorized for row in listed) >= 0.8 * len(listed)


def test_the_page_s_loop_with_accelerate_runs_as_it_stands(
    random_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (snippet,) = [block for block in blocks if "accelerator.backward" in block]
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 15
    model = load_model(str(random_models["sd1"]))
    unet = model.unet.requires_grad_(True)
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    text = model.encode(model.tokenize(CAPTIONS)).hidden_BLC
    noisy, target = torch.randn(2, 3, *model.latent_shape(), generator=torch.manual_seed(0))
    batch = {"key": ["a", "b", "c"], "caption": CAPTIONS, "noisy": noisy, "text": text}
    batch |= {"timesteps": TIMES, "target": target}
    names = {"unet": unet, "optimizer": torch.optim.AdamW(unet.parameters(), 1e-4)}
    names["loader"] = torch.utils.data.DataLoader([batch] * 2, batch_size=None)
    monkeypatch.chdir(tmp_path)
    exec(snippet, names)
    assert any(not torch.equal(weight, before[name]) for name, weight in unet.state_dict().items())
    assert names["guard"].left_out.share > 0, "its threshold leaves something out"
    assert pq.read_table(tmp_path / "left-out.parquet").num_rows > 0


def test_a_threshold_of_clean_pairs_is_fixed_before_anything_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its quantile of the clean pairs' signal: of as many again about that share is above."""
    from scanner.mitigation import finetune as tuned
    from scanner.mitigation.tuning import Tuning

    monkeypatch.setattr(tuned, "CALIBRATED_ON", 128)
    model, how = load_model("testbed", dtype="float32"), Tuning(batch=32)
    pipe = DiffusionPipeline.from_pretrained(files.MODEL, unet=None, dtype=torch.float32)
    few = tmp_path / "clean.parquet"
    pq.write_table(pq.read_table(files.HELDOUT).slice(0, 64), few)
    clean = read_pictures(str(few))
    learn = Guard(
        model.unet,
        "noise_norm",
        threshold=RunningQuantile(0.8, bins=2, warmup=32),
        empty=empty_caption(model),
    )
    fixed = tuned.usual_thresholds(model, pipe.vae, clean, learn, how)
    again = Guard(model.unet, "noise_norm", threshold=fixed, empty=empty_caption(model))
    before = fixed.values.clone()
    tuned.usual_thresholds(model, pipe.vae, clean, again, Tuning(batch=32, seed=1))
    assert torch.equal(fixed.values, before), "it learns nothing any more"
    assert 0.08 < again.left_out.share < 0.35
