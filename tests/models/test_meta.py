"""Models on the meta device have the tensors of loaded ones, and need no weights."""

import shutil
from pathlib import Path

import pytest
import torch

from scanner.errors import UserError
from scanner.models import DiffusionModel, ModelSpec, find_model, load_model
from scanner.models.device.device_memory import largest_layer_bytes, weight_bytes
from scanner.models.random.meta import on_meta
from scanner.models.random.random_weights import flux_dev, flux_transformer, pixart_sigma
from tests.hub import serving
from tests.random_families import FAMILIES
from tests.random_pipelines import KINDS
from tests.random_transformers import KINDS as TRANSFORMERS

ALL = (*KINDS, *TRANSFORMERS, *FAMILIES)
CAPTIONS = ["a red apple", "the word on a table"]


def _tensors(model: DiffusionModel) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {
        f"{part}.{name}": (tensor.shape, tensor.dtype)
        for part, module in model.components.items()
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }


@pytest.fixture(scope="module", params=ALL)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def models(kind: str, random_folders: dict[str, Path]) -> dict[str, DiffusionModel]:
    """By device, in float32."""
    folder = str(random_folders[kind])
    return {device: load_model(folder, "float32", device) for device in ("cpu", "meta")}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_tensor_is_that_of_the_loaded_model(
    random_folders: dict[str, Path], models: dict[str, DiffusionModel], kind: str, dtype: str
) -> None:
    if dtype != "float32":
        folder = str(random_folders[kind])
        models = {device: load_model(folder, dtype, device) for device in models}
    loaded, meta = models["cpu"], models["meta"]
    assert _tensors(meta) == _tensors(loaded) == _tensors(on_meta(loaded))
    assert all(t.is_meta for m in meta.components.values() for t in m.parameters())
    assert weight_bytes(meta) == weight_bytes(loaded)


@pytest.mark.slow
def test_a_forward_gives_the_shapes_of_a_real_one(models: dict[str, DiffusionModel]) -> None:
    shapes = []
    for device, model in models.items():
        text = model.encode(model.tokenize(CAPTIONS))
        noise = torch.empty((2, *model.latent_shape(64, 64)), device=device)
        outputs = {"": text.hidden_BLC, "v": model.predict(noise, 500, text), **text.added}
        shapes.append({name: (value.shape, value.dtype) for name, value in outputs.items()})
    assert shapes[0] == shapes[1]


def test_weights_are_neither_read_nor_needed(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(random_models["sd1"], tmp_path / "sd1")
    files = find_model(str(folder))
    assert files.has_weights
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    assert not files.has_weights
    assert load_model(files, device="meta").weights == "none"
    with pytest.raises(UserError, match="no safetensors weights"):
        find_model(str(folder), downloads_weights=False)  # of a directory, they are lost


@pytest.mark.slow
def test_a_hub_model_is_described_without_its_weights(
    random_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(random_models["sd1"], tmp_path / "served" / "owner" / "name")
    with serving(tmp_path / "served", tmp_path / "cache", monkeypatch) as hub:
        files = find_model("owner/name", downloads_weights=False)
        model = load_model(files, "float32", "meta")
        assert not hub.downloads(".safetensors")
        assert not files.has_weights
        assert find_model(ModelSpec("owner/name")).has_weights
        assert hub.downloads(".safetensors")
    assert _tensors(model) == _tensors(load_model(str(random_models["sd1"]), "float32", "cpu"))


def test_the_largest_layer_has_most_weights_of_its_own() -> None:
    part = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.Linear(20, 5))
    assert largest_layer_bytes(part) == (10 * 20 + 20) * 4


def test_flux_s_configuration_has_its_published_size() -> None:
    with torch.device("meta"):
        transformer = flux_transformer()
    assert sum(weight.numel() for weight in transformer.parameters()) == 11_901_408_320


@pytest.mark.slow
def test_t5_keeps_a_third_of_its_feed_forward_in_float32() -> None:
    half, brain = (
        weight_bytes(pixart_sigma(dtype))["text_encoder"] for dtype in ("float16", "bfloat16")
    )
    assert half - brain == 2 * 24 * 4096 * 10240


@pytest.mark.slow
def test_flux_s_31_gib_are_counted_without_holding_them() -> None:
    weights = weight_bytes(flux_dev())
    assert weights["transformer"] == 2 * 11_901_408_320
    assert sum(weights.values()) > 31 << 30
