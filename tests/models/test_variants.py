"""A model whose only weights are the variant fp16 loads, and is hashed as what is loaded."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from scanner.errors import UserError
from scanner.models import find_model, load_model
from scanner.models.decoding import load_vae
from tests.hub import serving

SHARDS = "100KB"
Save = Callable[..., Path]


@pytest.fixture(scope="session")
def save(random_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Saves a random pipeline in half precision, as ``save_pretrained`` does with options."""
    halves: dict[str, DiffusionPipeline] = {}

    def make(kind: str, **options: object) -> Path:
        if kind not in halves:
            whole = DiffusionPipeline.from_pretrained(random_models[kind])
            halves[kind] = whole.to(dtype=torch.float16)
        folder = tmp_path_factory.mktemp(kind)
        halves[kind].save_pretrained(folder, **options)
        return folder

    return make


def _weights(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
@pytest.mark.parametrize("options", [{}, {"max_shard_size": SHARDS}], ids=["whole", "sharded"])
def test_a_directory_with_only_fp16_weights_loads(
    save: Save, kind: str, options: dict[str, str]
) -> None:
    variant = save(kind, variant="fp16", **options)
    assert all(".fp16" in name for name in _weights(variant))
    files = find_model(str(variant))
    assert files.weights_hash() == find_model(str(save(kind))).weights_hash()
    model = load_model(files, dtype="float32")
    stored = DiffusionPipeline.from_pretrained(variant, variant="fp16").unet.state_dict()
    loaded = model.unet.state_dict()
    assert all(torch.equal(loaded[name], stored[name].float()) for name in stored)
    assert load_vae(files).dtype == torch.float32


@pytest.mark.slow
def test_other_weights_are_preferred_to_fp16(
    random_models: dict[str, Path], save: Save, tmp_path: Path
) -> None:
    both = shutil.copytree(random_models["sd1"], tmp_path / "both")
    shutil.copytree(save("sd1", variant="fp16"), both, dirs_exist_ok=True)
    plain = find_model(str(random_models["sd1"]))
    assert find_model(str(both)).weights_hash() == plain.weights_hash()


def test_a_missing_shard_of_a_variant_is_named(save: Save) -> None:
    folder = save("sd1", variant="fp16", max_shard_size=SHARDS)
    missing = next((folder / "unet").glob("*-00002-of-*.safetensors"))
    missing.unlink()
    with pytest.raises(UserError, match=f"unet/{missing.name}: missing, but listed in the index"):
        find_model(str(folder))


def test_other_variants_are_refused_by_name(save: Save) -> None:
    folder = save("sd1", variant="bf16")
    with pytest.raises(UserError, match=r"bf16\.safetensors: variants other than fp16 are ignored"):
        find_model(str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"max_shard_size": SHARDS}], ids=["whole", "sharded"])
def test_a_hub_model_with_only_fp16_weights_loads(
    save: Save, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save("sd1", variant="fp16", **options)
    shutil.copytree(folder, tmp_path / "hub/someone/half")
    with serving(tmp_path / "hub", tmp_path / "home", monkeypatch) as hub:
        files = find_model("someone/half")
        assert files.weights_hash() == find_model(str(folder)).weights_hash()
        load_model(files)
        parts = [folder / part for part in files.family.parts]
        expected = {path.name for part in parts for path in part.glob("*.safetensors")}
        assert {one.rpartition("/")[2] for one in hub.downloads(".safetensors")} == expected


@pytest.mark.slow
def test_of_a_hub_model_with_both_only_the_others_download(
    random_models: dict[str, Path], save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(random_models["sd1"], tmp_path / "hub/someone/both")
    shutil.copytree(save("sd1", variant="fp16", max_shard_size=SHARDS), folder, dirs_exist_ok=True)
    with serving(tmp_path / "hub", tmp_path / "home", monkeypatch) as hub:
        find_model("someone/both")
        names = {one.rpartition("/")[2] for one in hub.downloads(".safetensors")}
    assert names == {"model.safetensors", "diffusion_pytorch_model.safetensors"}
