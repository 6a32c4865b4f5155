from pathlib import Path

import pytest
import torch

from scanner.models import DiffusionModel, load_model
from scanner.probe import record_prefix, replay_prefix
from tests.random_pipelines import KINDS

CAPTIONS = ["a red apple", "The Great Wave", ""]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_models: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_models[kind]))


def _latent(model: DiffusionModel) -> torch.Tensor:
    return torch.randn(1, *model.latent_shape(), generator=torch.manual_seed(3))


@torch.no_grad()
def test_replaying_the_shared_prefix_gives_the_plain_forward(
    model: DiffusionModel, kind: str
) -> None:
    text = model.encode(model.tokenize(CAPTIONS))
    x = _latent(model).expand(len(CAPTIONS), -1, -1, -1)
    plain = model.predict_noise(x, 981, text)
    with record_prefix(model.unet) as prefix:
        model.predict_noise(_latent(model), 981, model.encode_empty())
    assert len(prefix) == (1 if kind == "sdxl" else 6)
    ran: list[str] = []
    hooks = [
        model.unet.get_submodule(name).register_forward_hook(lambda *_, n=name: ran.append(n))
        for name in prefix
    ]
    with replay_prefix(model.unet, prefix, len(CAPTIONS)):
        replayed = model.predict_noise(x, 981, text)
    for hook in hooks:
        hook.remove()
    assert ran == []
    assert torch.allclose(plain, replayed, atol=1e-5)


def test_the_unet_has_its_own_modules_back_also_after_an_exception(
    model: DiffusionModel,
) -> None:
    before = dict(model.unet.named_modules())
    with record_prefix(model.unet) as prefix, torch.no_grad():
        model.predict_noise(_latent(model), 981, model.encode_empty())

    def fail() -> None:
        with replay_prefix(model.unet, prefix, 2):
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    after = dict(model.unet.named_modules())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert not any(module._forward_hooks for module in after.values())
