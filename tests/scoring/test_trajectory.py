"""Compare the signals of the costly profiles with a plain loop over the stock scheduler."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import DDIMScheduler

from scanner.models import Conditioning, DiffusionModel, load_model
from scanner.models.families.stable_diffusion import StableDiffusion
from scanner.scoring import Scorer
from scanner.testbed import labels
from tests.random_pipelines import KINDS
from tests.scoring.counting import count_forwards

pytestmark = pytest.mark.slow

CAPTIONS = ["a red apple on a table", "The Great Wave", "x"]
STEPS = 10
GUIDANCE = 7.5


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, random_models: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_models[request.param]))


def _attention(model: DiffusionModel, run) -> list[torch.Tensor]:
    """Return the maps (H, P, L) of every layer of a plain forward of one caption, in run order."""
    maps: list[torch.Tensor] = []

    def keep(attn, args, kwargs) -> None:
        q = attn.head_to_batch_dim(attn.to_q(args[0]))
        k = attn.head_to_batch_dim(attn.to_k(kwargs["encoder_hidden_states"]))
        maps.append(attn.get_attention_scores(q, k))

    hooks = [
        model.unet.get_submodule(name).register_forward_pre_hook(keep, with_kwargs=True)
        for name in model.layers
    ]
    run()
    for hook in hooks:
        hook.remove()
    return maps


def _entropy(abar: torch.Tensor) -> torch.Tensor:
    return -(abar * abar.log()).sum()


def _plain_loop(model: DiffusionModel, caption: str, seed: int) -> dict[str, float]:
    """Score one caption at one seed with the loop of the papers."""
    scheduler = DDIMScheduler.from_config(dict(model.scheduler.config))
    scheduler.set_timesteps(STEPS)
    tokens = model.tokenize([caption])
    end = int(tokens.n_B[0]) - 1
    text, empty = model.encode(tokens), model.encode_empty()
    x = torch.randn((1, *model.latent_shape()), generator=torch.manual_seed(seed))
    noise = x.clone()
    differences, abars = [], []
    maps: list[torch.Tensor] = []
    v_prediction = scheduler.config.prediction_type == "v_prediction"
    for t in scheduler.timesteps:
        outputs = {}

        def run(t=t, x=x, outputs=outputs) -> None:
            outputs["with"] = _raw(model, x, t, text)

        maps = _attention(model, run)
        without = _raw(model, x, t, empty)
        guided = without + GUIDANCE * (outputs["with"] - without)
        # Δε = √ᾱ Δv, since both branches have the same x.
        scale = scheduler.alphas_cumprod[t].sqrt() if v_prediction else 1.0
        differences.append((outputs["with"] - without) * scale)
        abars.append(torch.stack([m.mean((0, 1)) for m in maps]))
        x = scheduler.step(guided, t, x).prev_sample
    late = [a.mean(0) for a in abars[-(STEPS // 5) :]]
    summary = [_entropy_part(a[end:]) for a in late]
    ending = torch.stack([m.mean(0)[:, end] for m in maps[:2]]).mean(0)
    side = int(len(ending) ** 0.5)
    ending = torch.nn.functional.interpolate(ending.view(1, 1, side, side), (8, 8), mode="bilinear")
    low = scheduler.timesteps[-3]
    low_with = model.predict(noise, int(low), text)
    low_without = model.predict(noise, int(low), empty)
    cosine = torch.cosine_similarity(low_with - low_without, low_without, dim=1).mean()
    alpha = scheduler.alphas_cumprod[scheduler.timesteps[0]]
    norm = differences[0].norm()
    return {
        "noise_norm_first": norm.item(),
        "noise_norm_low": (low_with - low_without).norm().item(),
        "noise_norm_mean": torch.stack([d.norm() for d in differences]).mean().item(),
        "entropy_d": (
            torch.stack([_entropy(a) for a in late]).mean()
            + torch.stack(summary).mean()
            - _entropy_part(abars[0].mean(0)[end:])
        ).item(),
        "bright_ending": np.mean(
            [((d * ending).norm() / ending.mean()).item() for d in differences]
        ),
        "cosine_low_noise": cosine.item(),
        "anisotropy": (norm / (1 - alpha).sqrt() + 2 * cosine).item(),
        "entropy_e": _entropy(abars[0][3]).item(),
    }


def _raw(
    model: DiffusionModel,
    x: torch.Tensor,
    t: int | torch.Tensor,
    text: Conditioning,
    hidden: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the stock U-Net's output; ``hidden`` replaces the text's hidden states."""
    hidden = text.hidden_BLC if hidden is None else hidden
    return model.unet(x, t, hidden, added_cond_kwargs=text.added or None).sample


def _entropy_part(part: torch.Tensor) -> torch.Tensor:
    return -(part * part.log()).sum()


@torch.no_grad()
def test_batched_scores_equal_those_of_the_plain_loop(model: DiffusionModel) -> None:
    scorer = Scorer(model, "trajectory", seeds=2, steps=STEPS, guidance=GUIDANCE)
    table = scorer.score(CAPTIONS).to_pylist()
    for caption, row in zip(CAPTIONS, table, strict=True):
        seeds = [_plain_loop(model, caption, seed) for seed in range(2)]
        for name in seeds[0]:
            expected = sum(seed[name] for seed in seeds) / 2
            assert row[name] == pytest.approx(expected, abs=1e-5, rel=1e-4), (caption, name)


def test_each_profile_gives_the_same_value_of_a_signal(model: DiffusionModel) -> None:
    tables = {
        name: Scorer(model, name, seeds=1, steps=STEPS).score(CAPTIONS[:2]).to_pylist()
        for name in ("triage", "standard", "thorough", "trajectory")
    }
    costliest = tables.pop("trajectory")
    for name, rows in tables.items():
        for row, other in zip(rows, costliest, strict=True):
            for column, value in row.items():
                if isinstance(value, float):
                    assert value == pytest.approx(other[column], abs=1e-5), (name, column)
    assert len(tables["triage"][0]["entropy_layers"]) == 4
    assert len(tables["standard"][0]["entropy_layers"]) == 4
    assert len(tables["thorough"][0]["entropy_layers"]) == len(model.layers)


def test_token_gradient_is_the_slope_of_the_noise_norm(model: DiffusionModel) -> None:
    """Compare with the gradient of the stock U-Net's noise norm."""
    scorer = Scorer(model, signals=("token_gradient", "noise_norm_first"))
    row = scorer.score(CAPTIONS[:1]).to_pylist()[0]
    tokens = model.tokenize(CAPTIONS[:1])
    with torch.no_grad():
        text = model.encode(tokens)
    x = scorer.forwards.initial_noise(0)
    leaf = text.hidden_BLC.clone().requires_grad_()
    norm = (_raw(model, x, 981, text, leaf) * _scale(model) - empty_raw(model, x)).norm()
    norm.backward()
    expected = leaf.grad[0].norm(dim=1)[: int(tokens.n_B[0])]
    assert row["token_gradient"] == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-6)


def _scale(model: DiffusionModel) -> float:
    v = model.scheduler.config.prediction_type == "v_prediction"
    return model.noise_process.alpha(981) ** 0.5 if v else 1.0


@torch.no_grad()
def empty_raw(model: DiffusionModel, x: torch.Tensor) -> torch.Tensor:
    return _raw(model, x, 981, model.encode_empty()) * _scale(model)


@pytest.mark.parametrize(
    ("profile", "seeds", "forwards"),
    [("triage", 1, 2), ("thorough", 1, 4), ("trajectory", 1, 4 + 18)],
)
def test_no_forward_runs_twice(
    random_models, monkeypatch: pytest.MonkeyPatch, profile: str, seeds: int, forwards: int
) -> None:
    """Conditional branches, ε_∅ (or only the shared prefix) once, both branches of later steps."""
    scorer = Scorer(load_model(str(random_models["sd1"])), profile, seeds=seeds, steps=STEPS)
    calls = count_forwards(monkeypatch)
    scorer.score(CAPTIONS)
    assert len(calls) == forwards


@pytest.fixture(scope="module")
def some() -> list[str]:
    """Return captions of all groups."""
    return labels()["caption"].to_pylist()[::40]


@pytest.fixture(scope="module")
def exact(some: list[str]) -> pa.Table:
    return Scorer(load_model("testbed"), "thorough", seeds=1).score(some)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.02), ("bfloat16", 0.1)])
def test_half_precision_is_finite_and_near_float32(
    exact: pa.Table, some: list[str], dtype: str, tolerance: float
) -> None:
    """On the testbed, scores differ by at most the documented share of the standard deviation."""
    half = Scorer(load_model("testbed", dtype=dtype), "thorough", seeds=1).score(some)
    for field in exact.schema:
        if field.metadata and b"memorized" in field.metadata and field.type == "float":
            left, right = exact[field.name].to_numpy(), half[field.name].to_numpy()
            assert np.abs(left - right).max() < tolerance * left.std(), field.name


def test_the_text_is_encoded_once_for_all_seeds(random_models) -> None:
    scorer = Scorer(load_model(str(random_models["sd1"])), "thorough", seeds=3)
    batches: list[int] = []
    hook = scorer.model.text_encoder.register_forward_hook(
        lambda _, __, out: batches.append(len(out[0]))
    )
    scorer.score(CAPTIONS)
    hook.remove()
    assert sorted(batches) == [1, len(CAPTIONS)]  # the empty caption, and the captions


@torch.no_grad()
@pytest.mark.parametrize("is_version_2", [False, True])
def test_anisotropy_of_version_2_takes_the_raw_predictions(
    random_models, monkeypatch: pytest.MonkeyPatch, is_version_2: bool
) -> None:
    """As the released code does, with its weights; other models take ε."""
    monkeypatch.setattr(StableDiffusion, "is_version_2", is_version_2)
    model = load_model(str(random_models["sd2"]))
    names = (
        "anisotropy",
        "cosine_v_low_noise",
        "cosine_low_noise",
        "noise_norm_first",
        "cosine_v@81",
    )
    row = Scorer(model, signals=names).score(CAPTIONS[:1]).to_pylist()[0]
    x = torch.randn((1, *model.latent_shape()), generator=torch.manual_seed(0))
    text, nothing = model.encode(model.tokenize(CAPTIONS[:1])), model.encode_empty()
    for time, column in ((41, "cosine_v_low_noise"), (81, "cosine_v_81")):
        raw, raw_empty = _raw(model, x, time, text), _raw(model, x, time, nothing)
        expected = torch.cosine_similarity(raw - raw_empty, raw_empty, dim=1).mean().item()
        assert row[column] == pytest.approx(expected, abs=1e-4)
    assert abs(row["cosine_v_low_noise"] - row["cosine_low_noise"]) > 1e-3
    cosine = 0.1 * row["cosine_v_low_noise"] if is_version_2 else 2 * row["cosine_low_noise"]
    norm = row["noise_norm_first"] / (1 - model.noise_process.alpha(981)) ** 0.5
    assert row["anisotropy"] == pytest.approx(norm + cosine, rel=1e-4)
