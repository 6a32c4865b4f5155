import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from scanner.errors import UserError
from scanner.models import load_model
from scanner.models.families.stable_diffusion import StableDiffusion
from scanner.models.traits import UNET
from scanner.scoring import ScoreError, Scorer
from scanner.scoring.catalog import SIGNALS
from scanner.signals.attention import attention_entropy
from scanner.signals.noise_level import FIRST
from tests.random_pipelines import KINDS
from tests.scoring.counting import count_forwards

CAPTIONS = [
    "a red apple on a table",
    "The Great Wave off Kanagawa (1831)",
    "日本の山と海",
    "party 🎉🎉 time",
    "x" * 10_000,
    "one",
    "word " * 300,
    "",
]
ATTENTION = [
    name
    for name, one in SIGNALS.items()
    if one.level == FIRST and one.needs.attention and one.needs.traits <= UNET
]


@pytest.fixture(scope="module", params=KINDS)
def scorer(request: pytest.FixtureRequest, random_models: dict[str, Path]) -> Scorer:
    return Scorer(load_model(str(random_models[request.param])), seeds=2)


def assert_same_scores(a: pa.Table, b: pa.Table, tolerance: float = 1e-5) -> None:
    assert a.schema == b.schema
    for field in a.schema:
        left, right = a[field.name].to_pylist(), b[field.name].to_pylist()
        for x, y in zip(left, right, strict=True):
            if pa.types.is_floating(field.type) or field.type == pa.list_(pa.float32()):
                assert np.allclose(x, y, atol=tolerance, rtol=tolerance), field.name
            elif field.name == "triggers":
                assert [t["text"] for t in x] == [t["text"] for t in y]
            else:
                assert x == y, field.name


@pytest.mark.slow
def test_scores_do_not_depend_on_batch_size_or_order(scorer: Scorer) -> None:
    whole = scorer.score(CAPTIONS)
    single = Scorer(scorer.model, seeds=2, batch_size=1).score(CAPTIONS)
    assert_same_scores(whole, single)
    backwards = scorer.score(CAPTIONS[::-1])
    assert_same_scores(whole, backwards.take(list(range(len(CAPTIONS)))[::-1]))
    alone = scorer.score(CAPTIONS[2:3])
    assert_same_scores(whole.slice(2, 1), alone)


@pytest.mark.parametrize(
    ("level", "timestep", "side"), [("", 981, 8), ("@81", 81, 8), ("@low", 41, 8), ("@low", 41, 4)]
)
def test_scores_match_the_equations_on_the_stock_unet(
    scorer: Scorer, level: str, timestep: int, side: int
) -> None:
    """Recompute from the stock U-Net: explicit maps from hooks, and two separate branches."""
    model, caption = scorer.model, CAPTIONS[1]
    latent_shape = (4, side, side)
    names = [
        f"{name}{level}" for name in ("noise_norm" if level else "noise_norm_first", *ATTENTION)
    ]
    pixels = side * model.pixels_per_latent
    scorer = Scorer(model, signals=names, seeds=2, height=pixels, width=pixels)
    row = scorer.score([caption]).to_pylist()[0]
    tokens = model.tokenize([caption])
    text, empty = model.encode(tokens, latent_shape), model.encode_empty(latent_shape)
    n = int(tokens.n_B[0])
    norms, abars = [], []
    for seed in range(2):
        generator = torch.Generator("cpu").manual_seed(seed)
        x = torch.randn((1, *latent_shape), generator=generator)
        maps: list[torch.Tensor] = []
        hooks = []
        for name in model.layers:
            attn = model.unet.get_submodule(name)
            hooks.append(
                attn.register_forward_pre_hook(
                    lambda attn, args, kwargs, maps=maps: maps.append(_map(attn, args[0], kwargs)),
                    with_kwargs=True,
                )
            )
        conditional = model.predict(x, timestep, text)
        for hook in hooks:
            hook.remove()
        norms.append((conditional - model.predict(x, timestep, empty)).norm().item())
        abars.append(torch.stack(maps))
    abar_SKL = torch.stack(abars)
    early = abar_SKL[:, :4].mean((0, 1))
    expected = {
        "entropy_e": attention_entropy(abar_SKL[:, 3]).mean().item(),
        "entropy_e_seeds": attention_entropy(abar_SKL[:, 3]).tolist(),
        "entropy_layers": attention_entropy(abar_SKL).mean(0).tolist(),
        "bos_mass": early[0].item(),
        "prompt_mass": early[1 : n - 1].sum().item(),
        "summary_mass": early[n - 1 :].sum().item(),
        "bos_mass_layers": abar_SKL[:, :, 0].mean(0).tolist(),
        "summary_mass_layers": abar_SKL[:, :, n - 1 :].sum(2).mean(0).tolist(),
        "token_mass": early[:n].tolist(),
        "noise_norm_first": sum(norms) / 2,
        "noise_norm_first_seeds": norms,
    }
    for name, value in expected.items():
        column = name
        if level:  # entropy_e_81_seeds is entropy_e_seeds at timestep 81
            signal = name.removesuffix("_seeds").removesuffix("_first")
            column = signal + level.replace("@", "_") + "_seeds" * name.endswith("_seeds")
        assert row[column] == pytest.approx(value, abs=1e-5, rel=1e-4), column
    assert len(row["triggers"]) > 0


def test_columns_of_one_forward_name_their_timestep(scorer: Scorer) -> None:
    model = scorer.model
    signals = ("noise_norm@low", "noise_norm_first", "bos_mass", "bos_mass@81", "anisotropy")
    schema = Scorer(model, signals=signals).schema
    steps = {field.name: (field.metadata or {}).get(b"timestep") for field in schema}
    assert steps["noise_norm_low"] == b"41"
    assert steps["noise_norm_first"] == steps["bos_mass"] == b"981"
    assert steps["bos_mass_81"] == b"81"
    assert steps["anisotropy"] is None  # from two forwards
    assert (
        Scorer(model, signals=signals, steps=20)
        .schema.field("noise_norm_low")
        .metadata[b"timestep"]
        == b"101"
    )
    same = Scorer(model, signals=("noise_norm@low", "noise_norm@41", "noise_norm_low"))
    assert [signal.name for signal in same.signals] == ["noise_norm_low", "noise_norm_41"]
    assert same.schedule.forwards == 1
    row = same.score(["a cat"]).to_pylist()[0]
    assert row["noise_norm_low"] == row["noise_norm_41"] > 0


@pytest.mark.parametrize("name", ["noise_norm@x", "anisotropy@81", "noise_norm@-1", "nothing@low"])
def test_signals_that_do_not_exist_are_refused(scorer: Scorer, name: str) -> None:
    with pytest.raises(UserError, match="NAME@mid or NAME@T with NAME one of entropy_e, "):
        Scorer(scorer.model, signals=(name,))


def test_a_timestep_that_the_model_lacks_is_refused(scorer: Scorer) -> None:
    with pytest.raises(UserError, match="timestep 1000: this model has 0 to 999"):
        Scorer(scorer.model, signals=("bos_mass@1000",))


def test_late_profiles_take_everything_from_one_late_forward(scorer: Scorer) -> None:
    for name, side in (("late", 8), ("late-half", 4)):
        late = Scorer(scorer.model, name)
        assert late.latent_shape == (4, side, side)
        assert (late.schedule.on_noise, late.schedule.forwards) == ({41: None}, 1)
    size = 12 * scorer.model.pixels_per_latent
    asked = Scorer(scorer.model, "late-half", height=size, width=size)
    assert asked.latent_shape == (4, 12, 12)


def _map(attn, hidden: torch.Tensor, kwargs: dict) -> torch.Tensor:
    """Return ā (L,) of one caption, from the module's own get_attention_scores."""
    q = attn.head_to_batch_dim(attn.to_q(hidden))
    k = attn.head_to_batch_dim(attn.to_k(kwargs["encoder_hidden_states"]))
    return attn.get_attention_scores(q, k).mean((0, 1))


def test_odd_captions_are_scored_as_documented(scorer: Scorer) -> None:
    table = scorer.score(CAPTIONS)
    rows = table.to_pylist()
    assert [row["truncated"] for row in rows] == [False] * 4 + [True, False, True, False]
    empty = rows[-1]
    assert empty["n_tokens"] == 2
    assert empty["triggers"] == []
    assert empty["prompt_mass"] == 0
    if not getattr(scorer.model, "force_zeros_for_empty_prompt", False):
        assert empty["noise_norm_low"] == pytest.approx(0, abs=1e-4)
    for caption, row in zip(CAPTIONS, rows, strict=True):
        assert len(row["token_mass"]) == row["n_tokens"]
        assert len(row["entropy_layers"]) == len(scorer.model.early_layers)
        for trigger in row["triggers"]:
            assert caption[trigger["start"] : trigger["end"]] == trigger["text"]
            assert trigger["lift"] >= 1 - 1e-6
        masses = [trigger["mass"] for trigger in row["triggers"]]
        assert masses == sorted(masses, reverse=True)
        total = row["bos_mass"] + row["prompt_mass"] + row["summary_mass"]
        assert total == pytest.approx(1, abs=1e-5)


def test_captions_that_are_not_strings_raise_type_error(scorer: Scorer) -> None:
    with pytest.raises(TypeError, match="must be a list of str, got str 'a red cat'"):
        scorer.score("a red cat")
    with pytest.raises(TypeError, match=r"captions\[1\] must be str, got NoneType"):
        scorer.score(["a cat", None])


def test_every_column_has_a_description(scorer: Scorer) -> None:
    for field in scorer.schema:
        assert field.metadata[b"description"], field.name
    assert scorer.schema.field("bos_mass").metadata[b"memorized"] == b"lower"
    assert b"findings" in scorer.schema.field("noise_norm_low").metadata[b"source"]


def test_scores_depend_only_on_the_seeds(random_models) -> None:
    model = load_model(str(random_models["sd1"]))
    one, two = (Scorer(model, seeds=n).score(["a cat"]).to_pylist()[0] for n in (1, 2))
    assert two["noise_norm_low_seeds"][0] == pytest.approx(one["noise_norm_low"], rel=1e-5)
    assert len(set(two["noise_norm_low_seeds"])) == 2
    assert Scorer(model, seeds=1).score(["a cat"]).to_pylist()[0] == one


def test_scores_that_are_not_finite_are_rejected(random_models) -> None:
    model = load_model(str(random_models["sd1"]))
    scorer = Scorer(model)
    poison = model.tokenizer("poison")["input_ids"][1]
    with torch.no_grad():
        model.text_encoder.get_input_embeddings().weight[poison] = float("nan")
    table, bad = scorer.score_finite(["a cat", "some poison", "a dog"])
    assert len(table) == 2
    assert list(bad) == [1]
    assert "not finite" in bad[1]
    with pytest.raises(ScoreError, match="some poison"):
        scorer.score(["a cat", "some poison"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    ],
)
def test_out_of_memory_halves_the_batch_and_changes_no_score(
    random_models, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    scorer = Scorer(load_model(str(random_models["sd1"])), batch_size=8)
    expected = scorer.score(CAPTIONS)
    encode = scorer.model.encode

    def small_device(tokens, latent_shape):
        if len(tokens.ids_BL) > 3:
            raise error
        return encode(tokens, latent_shape)

    monkeypatch.setattr(scorer.model, "encode", small_device)
    assert_same_scores(scorer.score(CAPTIONS), expected)
    assert scorer.batch_size == 2


@pytest.mark.slow
def test_memory_is_released_after_the_failed_frame_is_gone(
    random_models, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(load_model(str(random_models["sd1"])), batch_size=2)
    encode, held, left = scorer.model.encode, [], []

    def small_device(tokens, latent_shape):
        if len(tokens.ids_BL) > 1:
            activations = torch.zeros(1)
            held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(tokens, latent_shape)

    monkeypatch.setattr(scorer.model, "encode", small_device)
    monkeypatch.setattr(
        scorer.forwards, "release_memory", lambda: left.extend(one() for one in held)
    )
    scorer.score(CAPTIONS[:2])
    assert left == [None]


def test_the_empty_caption_costs_one_forward_per_seed(
    random_models, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(load_model(str(random_models["sd1"])), seeds=2, batch_size=4)
    calls = count_forwards(monkeypatch)
    scorer.score(CAPTIONS)
    scorer.score(CAPTIONS[:4])
    # Per seed: three batches at two noise levels, ε_∅ at the low one and the prefix of step 0.
    assert len(calls) == 2 * (2 * (2 + 1) + 1 + 1)


def test_the_fingerprint_tells_an_anisotropy_of_v_predictions(
    random_models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StableDiffusion, "is_version_2", True)
    for kind, told in (("sd1", None), ("sd2", "v")):
        model = load_model(str(random_models[kind]))
        assert Scorer(model, "thorough").fingerprint.get("anisotropy") == told
        assert "anisotropy" not in Scorer(model, "standard").fingerprint
