"""How much of a GPU's memory a process may use; asked of torch, without a GPU."""

from types import SimpleNamespace

import pytest
import torch

from scanner.models.device.gpu_share import CONTEXT_BYTES, keep_to_share

TOTAL = 16 << 30


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What torch's allocator is limited to."""
    set_limits: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", set_limits.append)
    properties = SimpleNamespace(total_memory=TOTAL)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    return set_limits


@pytest.mark.parametrize("actors", [2, 3, 8])
def test_actors_with_their_contexts_fit_on_their_gpu(limits: list[float], actors: int) -> None:
    keep_to_share("cuda", 1 / actors)
    (fraction,) = limits
    assert 0.4 / actors < fraction
    assert actors * (fraction * TOTAL + CONTEXT_BYTES) <= TOTAL + 1


@pytest.mark.parametrize(("device", "share"), [("cuda", 1.0), ("cuda", 2.0), ("cpu", 0.0)])
def test_a_gpu_of_one_s_own_has_no_limit(limits: list[float], device: str, share: float) -> None:
    keep_to_share(device, share)
    assert limits == []
