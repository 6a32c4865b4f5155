"""The guard reads the training forward, and excludes and lists what looks memorized."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DiffusionPipeline

from scanner.errors import UsageError, UserError
from scanner.mitigation import Guard
from scanner.mitigation.finetune import encode_empty_caption
from scanner.mitigation.moving_null import MovingNull
from scanner.mitigation.threshold import RunningQuantile
from scanner.mitigation.training_images import read_training_images
from scanner.models import load_model
from scanner.models.tokens import tokenize
from scanner.probe import watch_attention
from scanner.signals.attention import attention_entropy, bos_mass
from scanner.testbed import files, labels
from tests.mitigation.exclusions import mean_statistic

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


@pytest.mark.slow
def test_a_guard_reads_the_signal_and_keeps_the_gradients(model: Any) -> None:
    def gradients() -> torch.Tensor:
        model.unet.zero_grad()
        _forward(model).square().mean().backward()
        return torch.cat([weight.grad.flatten() for weight in model.unet.parameters()])

    model.unet.requires_grad_(True)
    plain, expected = _forward(model).detach(), gradients()
    with watch_attention(model.unet, model.layers) as record, torch.no_grad():
        _forward(model)
        entropy = torch.stack([attention_entropy(record.abar_NBL[n]) for n in (1, 3)]).mean(0)
        mass = torch.stack([bos_mass(record.abar_NBL[n]) for n in (1, 3)]).mean(0)
        empty = model.encode_empty()
        noise = torch.randn(3, *model.latent_shape(), generator=torch.manual_seed(1))
        added = {name: one.expand(3, *one.shape[1:]) for name, one in empty.added.items()}
        unconditional = model.unet(
            noise, TIMES, empty.hidden_BLC.expand(3, -1, -1), added_cond_kwargs=added or None
        ).sample
    norm = (plain - unconditional).flatten(1).norm(dim=1)
    for signal, values in (("entropy", entropy), ("bos_mass", mass), ("noise_norm", norm)):
        between = (values[0] + values[2]).item() / 2  # row 1 has no caption
        guard = Guard(model.unet, signal, (1, 3), between, empty=encode_empty_caption(model))
        with guard:
            assert torch.allclose(gradients(), expected, rtol=1e-3, atol=1e-6)
            weight = guard.loss_weights(TIMES, ["a", "b", "c"], CAPTIONS)
        higher = values[2] > values[0]
        excluded = "a" if higher == (signal == "bos_mass") else "c"
        assert weight.tolist() == [float(excluded != "a"), 1.0, float(excluded != "c")]
        (row,) = guard.exclusions.table(signal).to_pylist()
        assert (row["key"], row["left_out"], row["seen"]) == (excluded, 1, 1)
        assert row[f"mean_{signal}"] == pytest.approx(
            values[0 if excluded == "a" else 2].item(), rel=1e-5
        )
        assert guard.extra_forwards == (signal == "noise_norm")
        assert torch.allclose(_forward(model), plain, atol=1e-6), "hooks are removed"


@pytest.mark.slow
def test_weights_need_a_forward_of_the_same_rows(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd1"]))
    with Guard(model.unet, "bos_mass", threshold=0.5) as guard:
        with pytest.raises(UserError, match="no forward has run"):
            guard.loss_weights(TIMES, ["a", "b", "c"], CAPTIONS)
        _forward(model)
        with pytest.raises(UserError, match="the forward had 3 rows"):
            guard.loss_weights(TIMES, ["a"], CAPTIONS)
    with Guard(model.unet, "prompt_mass", tokenize=model.tokenize) as guard:
        _forward(model)
        with pytest.raises(UserError, match="the forward had 3 rows"):
            guard.loss_weights(TIMES, ["a"], CAPTIONS[:1])
    with pytest.raises(UserError, match="empty"):
        Guard(model.unet, "noise_norm")


@pytest.mark.slow
def test_a_soft_guard_gives_half_weight_at_the_threshold(
    random_models: dict[str, Path],
) -> None:
    model = load_model(str(random_models["sd1"]))
    weights = {}
    for share in (0.5, 1.0, 2.0):
        with Guard(model.unet, "bos_mass", threshold=0.5, softness=0.5) as probe:
            _forward(model)
            probe.loss_weights(TIMES, ["a", "b", "c"], CAPTIONS)
            mass = mean_statistic(probe, "a")
        with Guard(model.unet, "bos_mass", threshold=mass * share, softness=0.5) as guard:
            _forward(model)
            weights[share] = guard.loss_weights(TIMES, ["a", "b", "c"], CAPTIONS)[0].item()
    assert weights[1.0] == pytest.approx(0.5)
    assert weights[0.5] > 0.98
    assert weights[2.0] < 0.02


@pytest.mark.slow
def test_masses_are_those_over_words_and_summary_tokens(
    random_models: dict[str, Path],
) -> None:
    """From the attention of two layers: BOS, words, and the rest add up to 1."""
    model = load_model(str(random_models["sd1"]))
    with watch_attention(model.unet, [model.layers[n] for n in (1, 3)]) as record:
        _forward(model)
    abar_BL, n_B = record.abar_NBL.mean(0), model.tokenize(CAPTIONS).n_B.tolist()
    words = [row[1 : n - 1].sum().item() for row, n in zip(abar_BL, n_B, strict=True)]
    rest = [row[n - 1 :].sum().item() for row, n in zip(abar_BL, n_B, strict=True)]
    bos = abar_BL[:, 0].tolist()
    reader = partial(tokenize, model.tokenizer)
    for signal, values in (("prompt_mass", words), ("summary_mass", rest), ("bos_mass", bos)):
        with Guard(model.unet, signal, (1, 3), -1.0, tokenize=reader, direction="higher") as guard:
            _forward(model)
            assert guard.loss_weights(TIMES, ["a", "b", "c"], CAPTIONS).tolist() == [0, 1, 0]
        for key, value in (("a", values[0]), ("c", values[2])):
            assert mean_statistic(guard, key) == pytest.approx(value, rel=1e-5)
    assert words[0] + rest[0] + bos[0] == pytest.approx(1, abs=1e-5)


def test_the_loss_is_a_signal_of_any_module() -> None:
    losses = torch.tensor([0.2, 0.1, 0.05], requires_grad=True)
    with Guard(torch.nn.Linear(2, 2), "loss", threshold=0.1) as guard:
        weights = guard.loss_weights(TIMES, ["a", "b", "c"], ["x", "y", "z"], losses)
        assert weights.tolist() == [1, 1, 0], "memorized is lower"
        assert not weights.requires_grad
        with pytest.raises(UsageError, match="give loss_weights\\(\\) losses="):
            guard.loss_weights(TIMES, ["a", "b", "c"], ["x", "y", "z"])


def test_a_guard_by_probability_finds_planted_repeats(tmp_path: Path) -> None:
    """Ten captions whose loss is a third of the others', in every step among new captions."""
    random = torch.Generator().manual_seed(0)
    repeated = [f"repeated {n}" for n in range(10)]
    with Guard(torch.nn.Identity(), "loss", null=MovingNull(bins=1, warmup=16)) as guard:
        for step in range(20):
            captions = [*repeated, *(f"once {step} {n}" for n in range(20)), ""]
            losses = torch.exp(0.3 * torch.randn(31, generator=random))
            losses[:10] /= 3
            times = torch.randint(1000, (31,), generator=random)
            weights = guard.loss_weights(times, captions, captions, losses)
    assert weights[:10].max() < 0.1
    assert weights[10:].mean() > 0.9
    out = tmp_path / "excluded.parquet"
    assert 10 <= guard.removal_list(out) <= 20
    listed = pq.read_table(out).to_pylist()
    assert {row["key"] for row in listed} >= set(repeated)
    for row in listed:
        assert row["mean_probability"] == pytest.approx(1 - row["mean_weight"], abs=1e-5)
    with pytest.raises(UserError, match="cannot be written"):
        guard.removal_list(tmp_path / "missing" / "excluded.parquet")


def test_known_probabilities_lower_the_weight_too() -> None:
    with Guard(torch.nn.Identity(), "loss", threshold=0.1, known={"x": 0.75}) as guard:
        losses = torch.tensor([0.2, 0.2, 0.05])
        weights = guard.loss_weights(TIMES, ["a", "b", "c"], ["x", "y", "x"], losses)
    assert weights.tolist() == [0.25, 1, 0]
    assert [row["mean_probability"] for row in guard.exclusions.table("loss").to_pylist()] == [
        0.75,
        0.75,
    ]


@pytest.mark.slow
def test_settings_that_contradict_each_other_are_refused(
    random_models: dict[str, Path],
) -> None:
    unet = load_model(str(random_models["sd1"])).unet
    for options, message in (
        ({"signal": "prompt_mass"}, "pass tokenize="),
        ({"signal": "text_share"}, "needs joint attention"),
        ({"null": MovingNull(), "threshold": 0.5}, "drop threshold="),
        ({"layers": (99,)}, "has layers 0 to"),
        ({"softness": -1.0}, "must not be negative"),
    ):
        with pytest.raises(UsageError, match=message):
            Guard(unet, **options)
    linear = torch.nn.Linear(2, 2)
    with (
        Guard(linear, "noise_norm", empty={"text": torch.zeros(1, 2)}),
        pytest.raises(UsageError, match="empty= has text, which the forward of a Linear"),
    ):
        linear(torch.zeros(3, 2))
    with pytest.raises(UsageError, match="attention of a Linear is not recorded"):
        Guard(torch.nn.Linear(2, 2), "entropy")


def test_a_running_quantile_is_kept_per_noise_level() -> None:
    running = RunningQuantile(0.9, bins=2, window=100, warmup=10)
    early, late = torch.full((100,), 100), torch.full((100,), 900)
    assert running.at(torch.tensor([100])).isnan(), "nothing is excluded during warm-up"
    running.update(early, torch.linspace(0, 1, 100), 1.0)
    running.update(late, torch.linspace(10, 20, 100), 1.0)
    thresholds = running.at(torch.tensor([0, 499, 500, 999]))
    assert thresholds.tolist() == pytest.approx([0.9, 0.9, 19, 19])
    lower = RunningQuantile(0.9, bins=1, warmup=10)
    lower.update(early, torch.linspace(0, 1, 100), -1.0)
    assert lower.at(torch.tensor([0])).item() == pytest.approx(0.1), "memorized is lower here"
    running.update(early, torch.full((100,), 7.0), 1.0)
    assert running.at(torch.tensor([0])).item() == 7, "it follows recent samples"
    assert running.freeze().at(torch.tensor([0, 999])).tolist() == pytest.approx([7, 19])


@pytest.mark.slow
def test_a_guard_excludes_memorized_samples_of_the_testbed(tmp_path: Path) -> None:
    """Half of a set of memorized and held-out captions is excluded, nearly all of it memorized."""
    model = load_model("testbed", dtype="float32")
    rows = labels().to_pylist()
    memorized = [row["caption"] for row in rows if row["memorized"]][::8]
    clean = [row["caption"] for row in rows if row["group"] == "heldout"][: len(memorized)]
    captions = [*memorized, *clean]
    times = torch.full((len(captions),), 900)
    noise = torch.randn(len(captions), *model.latent_shape(), generator=torch.manual_seed(0))
    running = RunningQuantile(0.5, bins=1, warmup=len(captions))
    guard = Guard(model.unet, "noise_norm", threshold=running, empty=encode_empty_caption(model))
    with guard:
        for expected in ({1.0}, {0.0, 1.0}):  # the first step is the warm-up
            model.unet(noise, times, model.encode(model.tokenize(captions)).hidden_BLC)
            assert set(guard.loss_weights(times, captions, captions).tolist()) == expected
    out = tmp_path / "excluded.parquet"
    assert guard.removal_list(out) == len(captions) // 2
    listed = pq.read_table(out).to_pylist()
    assert all(row["left_out"] == 1 and row["seen"] == 2 for row in listed)
    assert sum(row["caption"] in memorized for row in listed) >= 0.8 * len(listed)


@pytest.mark.slow
def test_the_documented_accelerate_loop_runs_as_shown(
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
    assert names["guard"].exclusions.share > 0, "its threshold excludes something"
    assert pq.read_table(tmp_path / "excluded.parquet").num_rows > 0


@pytest.mark.slow
def test_a_threshold_from_clean_pairs_stays_fixed(tmp_path: Path) -> None:
    """It is a quantile of the clean pairs' signal: about the same share of new draws exceeds it."""
    from scanner.mitigation.finetune import measure_thresholds
    from scanner.mitigation.training_options import TrainingOptions

    model, options = load_model("testbed", dtype="float32"), TrainingOptions(batch=32)
    pipe = DiffusionPipeline.from_pretrained(files.MODEL, unet=None, dtype=torch.float32)
    few = tmp_path / "clean.parquet"
    pq.write_table(pq.read_table(files.HELDOUT).slice(0, 64), few)
    clean = read_training_images(str(few))
    learn = Guard(
        model.unet,
        "noise_norm",
        threshold=RunningQuantile(0.8, bins=2, warmup=32),
        empty=encode_empty_caption(model),
    )
    fixed = measure_thresholds(model, pipe.vae, clean, learn, options, 128)
    again = Guard(model.unet, "noise_norm", threshold=fixed, empty=encode_empty_caption(model))
    before = fixed.values.clone()
    other = TrainingOptions(batch=32, seed=1)
    measure_thresholds(model, pipe.vae, clean, again, other, 128)
    assert torch.equal(fixed.values, before), "fixed thresholds do not change"
    assert 0.08 < again.exclusions.share < 0.35
