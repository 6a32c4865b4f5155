"""Scores of transformers against plain computations with diffusers' own pipeline."""

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from scanner.errors import UserError
from scanner.models import DiffusionModel, find_model, load_model
from scanner.models.pipeline import load_pipeline
from scanner.probe import AttentionRecord, watch_attention
from scanner.scoring import Scorer
from scanner.scoring.catalog import SIGNALS
from scanner.scoring.cost import cost
from scanner.scoring.profiles import PROFILES
from tests.random_transformers import KINDS
from tests.scoring.test_scorer import assert_same_scores

CAPTIONS = ["a red apple on a table", "日本の山", "", "word " * 300, "The Great Wave (1831)"]
EARLY = slice(0, 2)
FIRST, MID = 1000.0, 500


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_transformers: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_transformers[kind]))


def _noise(model: DiffusionModel, seed: int) -> Tensor:
    return torch.randn((1, *model.latent_shape()), generator=torch.manual_seed(seed))


@torch.no_grad()
def _norm(model: DiffusionModel, caption: str, seed: int, time: float) -> float:
    """‖v_c − v_∅‖ from two forwards of the stock transformer."""

    def velocity(text: str) -> Tensor:
        encoded = model.encode(model.tokenize([text]))
        return model.transformer(
            _noise(model, seed),
            encoded.hidden_BLC,
            encoded.added["pooled_projections"],
            torch.tensor([float(time)]),
        ).sample

    return float((velocity(caption) - velocity("")).norm())


@torch.no_grad()
def _attention(model: DiffusionModel, caption: str, seed: int, time: float) -> Tensor:
    """ā on the text of every layer, (N, L); its own test compares it with a full softmax."""
    with watch_attention(model.transformer, model.layers) as record:
        model.predict(_noise(model, seed), time, model.encode(model.tokenize([caption])))
    return record.abar_NBL[:, 0]


def _entropy(abar: Tensor) -> Tensor:
    return -(abar * abar.log()).nan_to_num().sum(-1)


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "time"), [("", FIRST), ("@mid", MID), ("@250", 250)])
def test_scores_match_the_equations(model: DiffusionModel, suffix: str, time: float) -> None:
    """Statistics of the renormalized attention on the text, and the text's share."""
    velocity = f"velocity_norm{suffix}" if suffix else "noise_norm_first"
    attention = PROFILES["triage"].signals_of(model.traits)
    names = [velocity, *(f"{name}{suffix}" for name in attention)]
    caption = CAPTIONS[0]
    row = Scorer(model, signals=names, seeds=2).score([caption]).to_pylist()[0]
    raw = torch.stack([_attention(model, caption, seed, time) for seed in range(2)])
    share = raw.sum(-1)
    abar = raw / share[..., None]
    early = abar[:, EARLY].mean((0, 1))
    words = model.tokenize([caption]).words_BL[0]
    n = row["n_tokens"]
    assert words[:77].sum() == n - 2
    assert bool(words[77:].any()) == (model.tokenizer_3 is not None)
    summary = ~words
    summary[0] = False
    norms = [_norm(model, caption, seed, time) for seed in range(2)]
    expected = {
        "entropy_e": _entropy(abar[:, 1]).mean().item(),
        "entropy_e_seeds": _entropy(abar[:, 1]).tolist(),
        "entropy_layers": _entropy(abar[:, EARLY]).mean(0).tolist(),
        "bos_mass": early[0].item(),
        "prompt_mass": early[words].sum().item(),
        "summary_mass": early[summary].sum().item(),
        "bos_mass_layers": abar[:, EARLY, 0].mean(0).tolist(),
        "summary_mass_layers": abar[:, EARLY][..., summary].sum(-1).mean(0).tolist(),
        "text_share": share[:, EARLY].mean().item(),
        "text_share_layers": share[:, EARLY].mean(0).tolist(),
        "token_mass": early[:n].tolist(),
    }
    whole = {"noise_norm_first": norms} if not suffix else {velocity.replace("@", "_"): norms}
    for name, value in expected.items():
        column = name.removesuffix("_seeds") + suffix.replace("@", "_")
        column += "_seeds" * name.endswith("_seeds")
        if isinstance(value, list) and name.endswith("_layers"):
            assert row[column][:2] == pytest.approx(value, abs=1e-5, rel=1e-4), column
        else:
            assert row[column] == pytest.approx(value, abs=1e-5, rel=1e-4), column
    for column, values in whole.items():
        assert row[column] == pytest.approx(sum(values) / 2, rel=1e-4)
        assert row[f"{column}_seeds"] == pytest.approx(values, rel=1e-4)
    assert 0 < row["text_share" + suffix.replace("@", "_")] < 1
    assert row["triggers"]


def test_the_mid_level_is_half_of_the_timesteps(model: DiffusionModel) -> None:
    names = ("velocity_norm_mid", "velocity_norm@500", "noise_norm_first", "text_share@mid")
    scorer = Scorer(model, signals=names)
    assert scorer.schedule.forwards == 2, "the timestep 500 is the mid level"
    steps = {f.name: (f.metadata or {}).get(b"timestep") for f in scorer.schema}
    assert steps["noise_norm_first"] == b"1000"
    assert steps["velocity_norm_mid"] == steps["text_share_mid"] == b"500"
    row = scorer.score(["a cat"]).to_pylist()[0]
    assert row["velocity_norm_mid"] == row["velocity_norm_500"]
    assert row["velocity_norm_mid"] == pytest.approx(_norm(model, "a cat", 0, 500), rel=1e-4)


@pytest.mark.slow
def test_scores_do_not_depend_on_batches_or_order(model: DiffusionModel) -> None:
    whole = Scorer(model, "thorough", seeds=1, batch_size=8).score(CAPTIONS)
    assert_same_scores(whole, Scorer(model, "thorough", seeds=1, batch_size=2).score(CAPTIONS))
    backwards = Scorer(model, "thorough", seeds=1, batch_size=3).score(CAPTIONS[::-1])
    assert_same_scores(whole, backwards.take(list(range(len(CAPTIONS)))[::-1]))
    alone = Scorer(model, "thorough", seeds=1).score(CAPTIONS[1:2])
    assert_same_scores(whole.slice(1, 1), alone)
    triage = Scorer(model, "triage").score(CAPTIONS)
    for name in ("entropy_e", "text_share", "bos_mass", "prompt_mass"):
        assert triage[name].to_pylist() == pytest.approx(whole[name].to_pylist(), abs=1e-5), name


def test_odd_captions_are_scored_as_documented(model: DiffusionModel) -> None:
    rows = Scorer(model).score(CAPTIONS).to_pylist()
    assert [row["truncated"] for row in rows] == [False, False, False, True, False]
    assert rows[2]["prompt_mass"] == 0
    assert rows[2]["velocity_norm_mid"] == pytest.approx(0, abs=1e-4)
    assert rows[2]["triggers"] == []
    for caption, row in zip(CAPTIONS, rows, strict=True):
        total = row["bos_mass"] + row["prompt_mass"] + row["summary_mass"]
        assert total == pytest.approx(1, abs=1e-5)
        assert len(row["token_mass"]) == row["n_tokens"]
        for trigger in row["triggers"]:
            assert caption[trigger["start"] : trigger["end"]] == trigger["text"]


@pytest.mark.slow
@torch.no_grad()
def test_a_guided_trajectory_is_the_pipelines(
    model: DiffusionModel, kind: str, random_transformers: dict[str, Path]
) -> None:
    scorer = Scorer(model, "trajectory", steps=4, guidance=5.0)
    pipe: DiffusionPipeline = load_pipeline(
        find_model(str(random_transformers[kind])), "float32", "cpu"
    )
    latents = scorer.forwards.initial_noise(0).expand(2, -1, -1, -1)
    expected = pipe(
        CAPTIONS[:2],
        latents=latents.clone(),
        num_inference_steps=4,
        guidance_scale=5.0,
        output_type="latent",
    ).images
    text = model.encode(model.tokenize(CAPTIONS[:2]))
    steps = list(scorer.forwards.denoise(text, 0, AttentionRecord(len(model.layers))))
    assert torch.allclose(steps[-1].x_BCHW, expected, atol=1e-4)
    row = scorer.score(CAPTIONS[:1]).to_pylist()[0]
    norms = [float(step.difference_BCHW[0].norm()) for step in steps]
    assert row["noise_norm_first"] == pytest.approx(norms[0], rel=1e-4)
    assert row["noise_norm_mean"] == pytest.approx(sum(norms) / 4, rel=1e-3)
    assert row["bright_ending"] > 0
    assert row["entropy_d"] > 0


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        ("anisotropy", "defined for the noise levels of a DDPM, and this is a flow-matching model"),
        ("cosine_low_noise", "a DDPM"),
        ("noise_norm_low", "a DDPM"),
        ("noise_norm@500", "a DDPM"),
    ],
)
def test_signals_of_a_ddpm_are_refused(model: DiffusionModel, signal: str, reason: str) -> None:
    message = (
        f"signal {signal.replace('@', '_')} cannot be measured on stable-diffusion-3: .*{reason}"
    )
    with pytest.raises(UserError, match=message):
        Scorer(model, signals=(signal,))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        ("text_share", "in cross-attention, all of the image's attention is on the text"),
        ("text_share@low", "all of the image's attention"),
        ("velocity_norm_mid", "it is defined for flow matching"),
        ("bos_mass@mid", "σ = 0.5"),
        ("velocity_norm@81", "velocities"),
    ],
)
def test_signals_of_transformers_are_refused_on_a_unet(
    random_models: dict[str, Path], signal: str, reason: str
) -> None:
    model = load_model(str(random_models["sd1"]))
    with pytest.raises(UserError, match=f"on stable-diffusion: .*{reason}.*; leave it out"):
        Scorer(model, signals=(signal,))


@pytest.mark.slow
def test_profiles_leave_out_what_a_model_lacks(
    model: DiffusionModel, random_models: dict[str, Path]
) -> None:
    unet = load_model(str(random_models["sd1"]))
    ddpm_only = {"anisotropy", "cosine_low_noise", "noise_norm_low"}
    flow_only = {"velocity_norm_mid", "text_share", "text_share_layers"}
    for profile in PROFILES:
        scorer = Scorer(model, profile)
        ours = {signal.name.removesuffix("_mid") for signal in scorer.signals}
        assert len(scorer.schedule.on_noise) == 1 or not profile.startswith("late")
        theirs = {signal.name for signal in Scorer(unet, profile).signals}
        assert not ours & ddpm_only
        assert not theirs & {f"{name}{end}" for name in flow_only for end in ("", "_low", "_mid")}
        assert {"text_share", "text_share_layers"} <= ours
    assert flow_only | {"noise_norm_first"} <= {s.name for s in Scorer(model, "thorough").signals}
    assert set(SIGNALS) >= ddpm_only | flow_only


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_scores_are_finite(
    random_transformers: dict[str, Path], kind: str, dtype: str
) -> None:
    model = load_model(str(random_transformers[kind]), dtype)
    table, bad = Scorer(model, "thorough", seeds=1).score_finite(CAPTIONS)
    assert bad == {}
    assert len(table) == len(CAPTIONS)


@pytest.mark.slow
def test_the_cost_is_counted_with_all_text_encoders(
    random_transformers: dict[str, Path],
) -> None:
    counted = {}
    for kind in ("sd3", "sd3-t5"):
        model = load_model(str(random_transformers[kind]))
        triage, standard = cost(Scorer(model, "triage")), cost(Scorer(model, "standard"))
        assert 0 < triage.per_caption < standard.per_caption / 2 < standard.forward
        positions, patch = (64, 16) if kind == "sd3" else (16, 64)
        embedding, record = (2 * positions * 32 * by / 1e9 for by in (patch, 5 * (77 + 256)))
        own = standard.per_caption - triage.per_caption
        if kind == "sd3":  # the zeros in place of T5 run as one position
            assert own < 0.5 * standard.forward
        else:
            assert own == pytest.approx(standard.forward - embedding + record)
        assert standard.shared == pytest.approx(standard.forward + embedding)
        counted[kind] = standard
    t5 = counted["sd3-t5"].text_encoder - counted["sd3"].text_encoder
    width, inner, hidden, length, layers = 96, 48, 64, 256, 2
    products = 4 * width * inner + 3 * width * hidden + 2 * length * inner
    assert t5 == pytest.approx(2 * layers * length * products / 1e9, rel=0.02)
