"""The operators and the copies of a batch stay within their bounds."""

from pathlib import Path

import pytest
import torch

from jobs.bench.launches import HostReadCount, LaunchCount, count_launches
from scanner.models import load_model
from scanner.models.traits import UNET
from scanner.scoring import Scorer
from scanner.scoring.profiles import PROFILES

TRIAGE = PROFILES["triage"].signals_of(UNET)
CAPTIONS = ["a red fox", "an old boat in fog"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "before", "most"),
    [(TRIAGE, 275, 0.7), ((*TRIAGE, "noise_norm_first"), 976, 0.75)],
    ids=["part of a forward", "a whole forward"],
)
def test_a_batch_launches_fewer_operators_than_before(
    signals: tuple[str, ...], before: int, most: float
) -> None:
    """``before``: counted in the same way, before forwards were reshaped for GPUs."""
    scorer = Scorer(load_model("testbed", device="cpu"), signals=signals, batch_size=2)
    counted, copies = count_launches(scorer, CAPTIONS)
    assert counted.launches.total() <= most * before
    assert copies == 1, "9 and 10 before"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("profile", ["triage", "late-half", "thorough"])
def test_a_batch_is_copied_to_the_host_at_most_twice(
    random_models: dict[str, Path], kind: str, profile: str
) -> None:
    scorer = Scorer(load_model(str(random_models[kind])), profile, seeds=2, batch_size=2)
    assert 1 <= count_launches(scorer, CAPTIONS)[1] <= 2


def test_every_operator_that_computes_is_a_launch() -> None:
    x, layer = torch.ones(4, 3), torch.nn.Linear(3, 2)
    with LaunchCount() as counted, torch.inference_mode():
        y = torch.nn.functional.dropout(layer(x).view(2, 4), 0.5, training=False) + 1
        y.transpose(0, 1).contiguous()
    assert counted.launches == {"addmm": 1, "add": 1, "clone": 1}
    assert counted.views == {"t": 1, "view": 1, "dropout": 1, "transpose": 1}


def test_every_call_that_reads_a_tensor_on_the_host_is_a_copy() -> None:
    x = torch.ones(2)
    with HostReadCount() as counted:
        _ = x.cpu(), x.tolist(), x.numpy(), x[0].item(), float(x[0]), int(x[1]), bool(x[0] > 0)
        _ = x + 1, x.to(torch.float64)
    assert counted.reads == 7
