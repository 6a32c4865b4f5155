"""FLOPs by image size, and the configurations that they are counted from."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from jobs.bench.flops import gflop_by_size
from scanner.models import load_model
from scanner.models.random.meta import on_meta
from scanner.models.random.random_weights import stable_diffusion_3, transformer_3, unet_xl
from scanner.scoring import Scorer
from scanner.scoring.cost import ForwardCosts, cost
from scanner.scoring.profiles import PROFILES


@pytest.mark.slow
def test_every_profile_is_counted_at_three_sizes(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd1"]))
    gflop = gflop_by_size(model)
    assert list(gflop) == list(PROFILES)
    for name, by_side in gflop.items():
        if name != "late-half":
            assert list(by_side) == ["64", "48", "32"]
            assert sorted(by_side.values(), reverse=True) == list(by_side.values())
    assert gflop["late-half"] == {"32": gflop["late"]["32"]}
    for name in ("triage", "late-half", "thorough"):
        assert cost(Scorer(model, name)).per_caption in gflop[name].values()


@pytest.mark.slow
def test_forwards_are_counted_as_by_torch_s_counter(random_models: dict[str, Path]) -> None:
    """ForwardCosts repeats the results of equal operations, which torch's counter runs again."""
    model = on_meta(load_model(str(random_models["sd1"])))
    shape = model.latent_shape()
    costs, latents, time = ForwardCosts(model, shape), torch.empty(1, *shape), torch.zeros(1)
    with FlopCounterMode(display=False) as encoding:
        text = model.encode(model.tokenize([""]), shape)
    with FlopCounterMode(display=False) as whole:
        model.run(model.denoiser, latents.to("meta"), time.to("meta"), text.hidden_BLC, text.added)
    assert costs.encoding == encoding.get_total_flops() / 1e9 > 0
    assert costs.whole == whole.get_total_flops() / 1e9 > 0


@pytest.mark.slow
def test_sdxl_s_configuration_has_its_published_size() -> None:
    with torch.device("meta"):
        unet = unet_xl()
    assert sum(weight.numel() for weight in unet.parameters()) == 2_567_463_684


@pytest.mark.slow
def test_sd3_s_configuration_has_its_published_size() -> None:
    with torch.device("meta"):
        transformer = transformer_3()
    assert sum(weight.numel() for weight in transformer.parameters()) == 2_028_328_000


@pytest.mark.slow
def test_sd3_is_counted_with_t5() -> None:
    model = stable_diffusion_3()
    gflop = gflop_by_size(model)
    assert gflop["triage"]["1024"] < gflop["late-half"]["512"] < gflop["late"]["1024"]
    counted = cost(Scorer(model, "standard"))
    t5 = 2 * 256 * 4.63  # tokens, and billion weights without the vocabulary
    assert t5 < counted.text_encoder < 1.1 * t5
