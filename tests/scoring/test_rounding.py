"""Scores in float32 deviate from float64 no more than rounding in the stock U-Net explains."""

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from scanner.models import DiffusionModel, load_model
from scanner.models.traits import UNET
from scanner.scoring import Scorer
from scanner.scoring.profiles import PROFILES
from scanner.testbed import labels

CAPTIONS = labels()["caption"].to_pylist()[::27]
SIGNALS = (*PROFILES["standard"].signals_of(UNET), "noise_norm_first")
FACTOR = 1.5
"""Of two root mean squares of rounding errors, which differ by the order of sums alone."""

Scores = dict[str, Tensor]


@pytest.fixture(scope="module")
def exact() -> Scores:
    """Scores from stock forwards in float64."""
    model = load_model("testbed", device="cpu")
    model.unet.double()
    model.text_encoder.double()
    return _stock_scores(model)


@pytest.fixture(scope="module")
def stock() -> Scores:
    """Scores from stock forwards in float32."""
    return _stock_scores(load_model("testbed", device="cpu"))


@pytest.fixture(scope="module")
def scored() -> Scores:
    """Scores of the Scorer in float32; those per token are padded with zeros."""
    scorer = Scorer(load_model("testbed", device="cpu"), signals=SIGNALS, batch_size=32)
    table = scorer.score(CAPTIONS)
    columns = {name: [torch.tensor(one) for one in table[name].to_pylist()] for name in SIGNALS}
    columns["token_mass"] = list(pad_sequence(columns["token_mass"], batch_first=True))
    return {name: torch.stack(values) for name, values in columns.items()}


@torch.no_grad()
def _stock_scores(model: DiffusionModel) -> Scores:
    """Compute every signal by its definition from stock forwards, in the model's dtype."""
    times, n_B = model.noise_process.timesteps(50), model.tokenize(CAPTIONS).n_B
    abar_NBL, norm_first_B = _stock_forward(model, int(times[0]))
    position_L = torch.arange(abar_NBL.shape[2])
    is_word_BL = (position_L >= 1) & (position_L <= n_B[:, None] - 2)
    is_summary_BL = position_L >= n_B[:, None] - 1
    early_BL = abar_NBL[list(model.early_layers)].mean(0)
    entropy_NB = -(abar_NBL * abar_NBL.log()).sum(2)
    return {
        "entropy_e": entropy_NB[model.entropy_layer],
        "entropy_layers": entropy_NB.T,
        "bos_mass": early_BL[:, 0],
        "prompt_mass": (early_BL * is_word_BL).sum(1),
        "summary_mass": (early_BL * is_summary_BL).sum(1),
        "bos_mass_layers": abar_NBL[:, :, 0].T,
        "summary_mass_layers": (abar_NBL * is_summary_BL).sum(2).T,
        "token_mass": (early_BL * (position_L < n_B[:, None]))[:, : int(n_B.max())],
        "noise_norm_first": norm_first_B,
        "noise_norm_low": _stock_forward(model, int(times[-3]))[1],
    }


def _stock_forward(model: DiffusionModel, time: int) -> tuple[Tensor, Tensor]:
    """Return ā (N, B, L) and ‖ε_c − ε_∅‖ (B,) of the initial noise of seed 0."""
    x_1CHW = torch.randn((1, *model.latent_shape()), generator=torch.manual_seed(0)).to(model.dtype)
    abar: list[Tensor] = []

    def keep(attn, args, kwargs) -> None:
        q = attn.head_to_batch_dim(attn.to_q(args[0]))
        k = attn.head_to_batch_dim(attn.to_k(kwargs["encoder_hidden_states"]))
        attn_EPL = attn.get_attention_scores(q, k)
        abar.append(attn_EPL.unflatten(0, (-1, attn.heads)).mean((1, 2)))

    def predicted(captions: list[str]) -> Tensor:
        text = model.encode(model.tokenize(captions)).hidden_BLC
        x_BCHW = x_1CHW.expand(len(captions), -1, -1, -1)
        return model.unet(x_BCHW, time, text, return_dict=False)[0]

    without_1CHW = predicted([""])
    modules = [model.unet.get_submodule(name) for name in model.layers]
    hooks = [one.register_forward_pre_hook(keep, with_kwargs=True) for one in modules]
    difference_BCHW = predicted(CAPTIONS) - without_1CHW
    for hook in hooks:
        hook.remove()
    # Δε = √ᾱ Δv, since both predictions have the same x.
    assert model.scheduler.config.prediction_type == "v_prediction"
    scale = model.noise_process.alpha(time) ** 0.5
    return torch.stack(abar), scale * difference_BCHW.flatten(1).norm(dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_scores_round_no_worse_than_the_stock_unet(
    name: str, exact: Scores, stock: Scores, scored: Scores
) -> None:
    assert exact[name].dtype == torch.float64
    of_stock, of_scored = (
        float((one[name] - exact[name]).square().mean().sqrt()) for one in (stock, scored)
    )
    assert 0 < of_scored <= FACTOR * of_stock


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SIGNALS if not name.endswith("_layers")])
def test_early_scores_and_norms_are_within_1e_5_of_float64(
    name: str, exact: Scores, scored: Scores
) -> None:
    assert float((scored[name] - exact[name]).abs().max()) < 1e-5
