"""Signals from derivatives against central differences of the stock denoiser in float64."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scanner.models import Conditioning, DiffusionModel, load_model
from scanner.scoring import Scorer
from scanner.scoring.cost import ForwardCosts, cost
from scanner.scoring.derivatives import Derivatives
from scanner.testbed import labels
from tests.random_pipelines import KINDS
from tests.scoring.counting import count_forwards
from tests.scoring.stock_denoiser import StockDenoiser
from tests.scoring.test_scorer import assert_same_scores

CAPTIONS = ["a red apple on a table", "The Great Wave", "x"]
NAMES = ("curvature", "condition_jacobian", "gradient_gap", "score_change")
GUIDANCE = 7.5


@pytest.fixture(scope="module", params=[*KINDS, "sd3"])
def model(
    request: pytest.FixtureRequest,
    random_folders: dict[str, Path],
) -> DiffusionModel:
    return load_model(str(random_folders[request.param]))


@pytest.fixture(scope="module")
def stock(model: DiffusionModel) -> StockDenoiser:
    return StockDenoiser(model, CAPTIONS)


def _noise(model: DiffusionModel, seed: int) -> Tensor:
    return torch.randn((1, *model.latent_shape()), generator=torch.manual_seed(seed)).double()


def _next_latents(model: DiffusionModel, x: Tensor, guided: Tensor, raw: Tensor) -> Tensor:
    """Return x₁ of the stock scheduler. ``guided``: ε or v; ``raw``: the guided output."""
    kind = DDIMScheduler if "beta_start" in model.scheduler.config else None
    scheduler = (kind or FlowMatchEulerDiscreteScheduler).from_config(dict(model.scheduler.config))
    scheduler.set_timesteps(50)
    return scheduler.step(raw if kind else guided, scheduler.timesteps[0], x).prev_sample


@torch.no_grad()
def _plain(model: DiffusionModel, stock: StockDenoiser, caption: str, seed: int) -> dict:
    """Compute all signals of one caption at one seed by their definitions."""
    x, text, nothing = _noise(model, seed), stock.texts[caption], stock.texts[""]
    first, second = model.noise_process.timesteps(50)[:2]
    raw = [stock.raw(x, first, one) for one in (text, nothing)]
    with_caption, without = (stock.prediction(x, first, one) for one in raw)
    difference = with_caption - without
    products = [stock.along_latent(x, first, one, difference) for one in (text, nothing)]
    scale = 1 if stock.alphas is None else 1 - float(stock.alphas[int(first)])
    gradients = [stock.half_square_gradient(x, first, one) for one in (text, nothing)]
    x_1 = _next_latents(
        model,
        x,
        without + GUIDANCE * difference,
        raw[1] + GUIDANCE * (raw[0] - raw[1]),
    )
    return {
        "curvature": float((products[0] - products[1]).norm() / scale),
        "condition_jacobian": float(stock.along_text(x, first, text).norm()),
        "gradient_gap": float((gradients[0] - gradients[1]).square().sum()),
        "score_change": float((stock.predict(x_1.double(), second, text) - with_caption).norm()),
    }


@pytest.mark.slow
def test_scores_equal_the_plain_computation(model: DiffusionModel, stock: StockDenoiser) -> None:
    captions = CAPTIONS[:2]
    rows = Scorer(model, signals=NAMES, seeds=2).score(captions).to_pylist()
    for caption, row in zip(captions, rows, strict=True):
        seeds = [_plain(model, stock, caption, seed) for seed in range(2)]
        for name in NAMES:
            expected = sum(seed[name] for seed in seeds) / 2
            assert row[name] == pytest.approx(expected, rel=2e-3), (caption, name)
            assert expected > 1e-4, name


@pytest.mark.slow
def test_both_modes_of_differentiation_agree(model: DiffusionModel) -> None:
    """Forward mode, and reverse mode twice."""
    time = model.noise_process.timesteps(50)[0]
    with torch.no_grad():
        text = model.encode(model.tokenize(CAPTIONS))
    generator = torch.manual_seed(0)
    x, direction = (
        torch.randn((len(CAPTIONS), *model.latent_shape()), generator=generator) for _ in range(2)
    )
    forward = Derivatives(model, time).along_latent(x, text, direction)
    leaf, dual = x.clone().requires_grad_(), torch.zeros_like(x, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        output = model.predict(leaf, time, text)
        (backward,) = torch.autograd.grad(output, leaf, dual, create_graph=True)
        (reverse,) = torch.autograd.grad(backward, dual, direction)
    assert torch.allclose(forward, reverse, rtol=1e-3, atol=1e-4)
    assert not forward.is_inference()


@pytest.mark.slow
def test_scores_do_not_depend_on_batches_or_order(model: DiffusionModel) -> None:
    captions = [*CAPTIONS[:2], "", "word " * 300]
    whole = Scorer(model, signals=NAMES, batch_size=8).score(captions)
    alone = Scorer(model, signals=NAMES, batch_size=1).score(captions[::-1])
    assert_same_scores(whole, alone.take([3, 2, 1, 0]), 1e-4)


@pytest.mark.slow
def test_the_empty_caption_has_no_derivatives(model: DiffusionModel) -> None:
    if getattr(model, "force_zeros_for_empty_prompt", False):
        pytest.skip("without a caption, this model reads zeros")
    row = Scorer(model, signals=NAMES).score([""]).to_pylist()[0]
    for name in ("curvature", "condition_jacobian", "gradient_gap"):
        assert row[name] == pytest.approx(0, abs=1e-4), name


@pytest.mark.slow
def test_a_trajectory_gives_the_same_score_change(model: DiffusionModel) -> None:
    alone = Scorer(model, signals=("score_change",), steps=5)
    along = Scorer(model, signals=("score_change", "noise_norm_mean"), steps=5)
    assert alone.schedule.forwards == 2
    assert along.schedule.forwards == 1 + 2 * 4, "step 1 is one of the trajectory's"
    expected = alone.score(CAPTIONS)["score_change"].to_pylist()
    assert along.score(CAPTIONS)["score_change"].to_pylist() == pytest.approx(expected, rel=1e-4)


def test_masks_stay_the_captions(model: DiffusionModel) -> None:
    """Integer inputs are not differentiated."""
    seen: list[Tensor] = []

    class Masked:
        dtype, denoiser = model.dtype, model.denoiser

        def predict(self, x: Tensor, time: float, text: Conditioning, denoiser: object) -> Tensor:
            seen.append(text.added["mask"])
            return x * (text.hidden_BLC * text.added["mask"]).sum((1, 2), keepdim=True)[..., None]

    text, nothing = (
        Conditioning(torch.full((1, 2, 3), value), {"mask": torch.tensor([[[on], [1]]])})
        for value, on in ((3.0, 0), (1.0, 1))
    )
    derivative = Derivatives(Masked(), 1).along_text(torch.ones(1, 1, 1, 1), text, nothing)
    assert seen[0].tolist() == [[[0], [1]]]
    assert derivative.item() == 6, "3 channels of one position, each changes by 2"


@pytest.fixture(scope="module")
def some() -> list[str]:
    return labels()["caption"].to_pylist()[::80]


@pytest.fixture(scope="module")
def exact(some: list[str]) -> pa.Table:
    return _testbed_scores(some, "float32")


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.02), ("bfloat16", 0.1)])
def test_half_precision_is_finite_and_near_float32(
    some: list[str], exact: pa.Table, dtype: str, tolerance: float
) -> None:
    half = _testbed_scores(some, dtype)
    for name in NAMES:
        left, right = exact[name].to_numpy(), half[name].to_numpy()
        assert abs(left - right).max() < tolerance * left.std(), name


def _testbed_scores(captions: list[str], dtype: str) -> pa.Table:
    scorer = Scorer(load_model("testbed", dtype=dtype), signals=NAMES)
    assert scorer.forwards.derivatives.denoiser.dtype == torch.float32
    return scorer.score(captions)


@pytest.mark.parametrize("kind", ["pixart-sigma", "flux", "chroma"])
def test_other_transformers_have_the_derivatives(
    kind: str, random_families: dict[str, Path]
) -> None:
    """Masked and pooled text, ε with a variance, packed latents, embedded guidance."""
    model = load_model(str(random_families[kind]))
    side = 4 * model.pixels_per_latent
    options = {"signals": (*NAMES, "noise_norm_first"), "height": side, "width": side}
    whole = Scorer(model, batch_size=8, **options).score(CAPTIONS)
    assert_same_scores(whole, Scorer(model, batch_size=1, **options).score(CAPTIONS), 1e-3)
    x = torch.randn((1, *model.latent_shape(side, side)), generator=torch.manual_seed(0))
    time = model.noise_process.timesteps(50, x.shape[1:])[0]
    with torch.no_grad():
        text, nothing = (
            model.encode(model.tokenize(["The Great Wave"]), x.shape[1:]),
            model.encode_empty(x.shape[1:]),
        )
        slope = _predicted(model, x, time, text, nothing, 1e-2)
        slope -= _predicted(model, x, time, text, nothing, -1e-2)
    expected = float(slope.norm() / 2e-2)
    assert whole["condition_jacobian"][1].as_py() == pytest.approx(expected, rel=1e-2)


def _predicted(
    model: DiffusionModel,
    x: Tensor,
    time: float,
    text: Conditioning,
    nothing: Conditioning,
    h: float,
) -> Tensor:
    """Return the prediction at the caption's conditioning, moved away from the empty caption's."""
    added = {
        name: value + h * (value - nothing.added[name]) if value.is_floating_point() else value
        for name, value in text.added.items()
    }
    hidden = text.hidden_BLC + h * (text.hidden_BLC - nothing.hidden_BLC)
    return model.predict(x, time, Conditioning(hidden, added))


@pytest.mark.slow
def test_no_forward_runs_twice(
    random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 0 and step 1, three Jacobian-vector products and a gradient; per seed, ε_∅ and its
    gradient."""
    scorer = Scorer(load_model(str(random_models["sd1"])), signals=NAMES)
    calls = count_forwards(monkeypatch)
    scorer.score(CAPTIONS[:1])
    assert len(calls) == 2 + 3 + 1 + 2
    scorer.score(CAPTIONS[:1])
    assert len(calls) == 2 + 3 + 1 + 2 + 2 + 3 + 1, "what no caption changes is kept"


@pytest.fixture(scope="module")
def forward_costs(random_models: dict[str, Path]) -> ForwardCosts:
    model = load_model(str(random_models["sd1"]))
    return ForwardCosts(model, model.latent_shape())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "forwards", "of_empty"),
    [
        ("curvature", 1 + 4, 1),
        ("condition_jacobian", 2, 0),
        ("gradient_gap", 3, 3),
        ("score_change", 2, 1),
    ],
)
def test_costs_are_counted_in_forwards(
    random_models: dict[str, Path],
    forward_costs: ForwardCosts,
    name: str,
    forwards: int,
    of_empty: int,
) -> None:
    scorer = Scorer(load_model(str(random_models["sd1"])), signals=(name,), seeds=2)
    counted = cost(scorer, forward_costs)
    saved = counted.forward - forward_costs.own(None)  # what step 0 shares with other captions
    expected = forwards * counted.forward - saved * len(scorer.schedule.on_noise)
    assert scorer.schedule.forwards == forwards
    assert counted.per_caption == pytest.approx(2 * expected)
    assert counted.shared == pytest.approx(2 * of_empty * counted.forward)
