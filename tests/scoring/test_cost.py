"""FLOPs are counted alike from loaded models and from models without weights."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scanner.models import DiffusionModel, load_model
from scanner.models.random.meta import on_meta
from scanner.scoring import Scorer
from scanner.scoring.cost import cost
from tests.random_families import FAMILIES


def _run_gflop(model: DiffusionModel, part: str, ids: torch.Tensor) -> float:
    """One run of an encoder at the length of its own tokens."""
    with FlopCounterMode(display=False) as counter:
        model.components[part](ids.to("meta"))
    return counter.get_total_flops() / 1e9


@pytest.mark.slow
def test_flux_s_encoders_are_counted_at_their_own_lengths(
    random_families: dict[str, Path],
) -> None:
    model = load_model(str(random_families["flux"]), "float32", "cpu")
    tokens, meta = model.tokenize([""]), on_meta(model)
    assert (tokens.ids_BL.shape[1], tokens.more_ids[0].shape[1]) == (512, 77)
    clip = _run_gflop(meta, "text_encoder", tokens.more_ids[0])
    t5 = _run_gflop(meta, "text_encoder_2", tokens.ids_BL)
    counted = cost(Scorer(model, "triage"))
    assert counted.text_encoder == pytest.approx(clip + t5)
    share = (clip + t5) / (clip + t5 + counted.per_caption)
    assert counted.text_share == pytest.approx(share)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sd3", *FAMILIES])
def test_a_model_without_weights_costs_the_same(random_folders: dict[str, Path], kind: str) -> None:
    loaded, meta = (
        cost(Scorer(load_model(str(random_folders[kind]), "float32", on), "standard"), device="cpu")
        for on in ("cpu", "meta")
    )
    assert loaded == meta
    assert loaded.text_encoder > 0


@pytest.mark.slow
def test_zeros_for_t5_are_folded_on_the_cpu_only(
    random_transformers: dict[str, Path],
) -> None:
    model = load_model(str(random_transformers["sd3"]), "float32", "meta")
    on_cpu, on_cuda = (cost(Scorer(model, "triage"), device=one) for one in ("cpu", "cuda"))
    assert on_cpu.per_caption < 0.6 * on_cuda.per_caption
