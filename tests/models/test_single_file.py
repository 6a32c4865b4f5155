"""Checkpoints in the original key layout, loaded by diffusers' own conversion."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from scanner.errors import UserError
from scanner.models import ModelSpec, find_model, load_model, load_tokenizer
from scanner.scoring import Scorer
from scanner.storage import Store
from tests.original_layout import save_as_single_file
from tests.random_pipelines import KINDS
from tests.scoring.test_scorer import assert_same_scores

TEXTS = {
    "sd1": "cond_stage_model.transformer.",
    "sd2": "cond_stage_model.model.",
    "sdxl": "conditioner.embedders.1.model.",
}
CAPTIONS = ["a red apple on a table", "Wow! The Great Wave"]


@pytest.fixture(scope="module")
def checkpoints(
    random_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("single")
    return {
        kind: str(
            save_as_single_file(
                DiffusionPipeline.from_pretrained(random_models[kind]),
                folder / f"{kind}.safetensors",
            )
        )
        for kind in KINDS
    }


def _with(source: str, target: Path, **tensors: torch.Tensor) -> str:
    save_file({**load_file(source), **tensors}, target)
    return str(target)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_scores_as_its_source_directory(
    random_models: dict[str, Path], checkpoints: dict[str, str], tmp_path: Path, kind: str
) -> None:
    """The configuration has no weights beside it, so all of them come from the file."""
    config = tmp_path / "config"
    shutil.copytree(random_models[kind], config, ignore=shutil.ignore_patterns("*.safetensors"))
    files = find_model(ModelSpec(checkpoints[kind], config=str(config)))
    expected = Scorer(load_model(str(random_models[kind]))).score(CAPTIONS)
    assert_same_scores(Scorer(load_model(files)).score(CAPTIONS), expected)
    assert (
        load_tokenizer(files)("a cat")["input_ids"]
        == load_tokenizer(find_model(str(random_models[kind])))("a cat")["input_ids"]
    )


@pytest.mark.slow
def test_a_single_file_s_hash_covers_weights_and_config_only(
    random_models: dict[str, Path], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    config = str(random_models["sd1"])
    own = find_model(ModelSpec(checkpoints["sd1"], config=config)).weights_hash()
    name = "model.diffusion_model.out.2.bias"
    other = _with(checkpoints["sd1"], tmp_path / "a.safetensors", **{name: torch.ones(4)})
    assert find_model(ModelSpec(other, config=config)).weights_hash() != own
    bare = tmp_path / "bare"
    shutil.copytree(config, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    assert find_model(ModelSpec(checkpoints["sd1"], config=str(bare))).weights_hash() == own
    scheduler = bare / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("0.012", "0.02"))
    assert find_model(ModelSpec(checkpoints["sd1"], config=str(bare))).weights_hash() != own


def test_a_single_file_in_object_storage_is_fetched(
    random_models: dict[str, Path],
    checkpoints: dict[str, str],
    s3: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Store(s3).upload(Path(checkpoints["sd1"]), "checkpoints/small.safetensors")
    config = str(random_models["sd1"])
    there = find_model(ModelSpec(f"{s3}/checkpoints/small.safetensors", config=config))
    assert (
        there.weights_hash()
        == find_model(ModelSpec(checkpoints["sd1"], config=config)).weights_hash()
    )


def test_error_without_a_configuration_names_the_default_one(
    checkpoints: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"stable-diffusion-v1-5 is unavailable.*--model-config"):
        find_model(checkpoints["sd1"])


def test_the_default_configuration_comes_from_the_cache(
    random_models: dict[str, Path],
    checkpoints: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    shutil.copytree(random_models["sd1"], repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert find_model(checkpoints["sd1"]).pipeline == "StableDiffusionPipeline"


@pytest.mark.parametrize(("file", "config"), [("sd1", "sdxl"), ("sdxl", "sd1"), ("sd1", "sd2")])
def test_a_configuration_of_another_architecture_is_an_error(
    random_models: dict[str, Path], checkpoints: dict[str, str], file: str, config: str
) -> None:
    files = find_model(ModelSpec(checkpoints[file], config=str(random_models[config])))
    with pytest.raises(UserError, match="does not match the configuration"):
        load_model(files)


@pytest.mark.slow
def test_weights_that_the_configuration_lacks_are_an_error(
    random_models: dict[str, Path], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    more = {"model.diffusion_model.input_blocks.1.1.transformer_blocks.1.norm1.bias": torch.ones(1)}
    file = _with(checkpoints["sd1"], tmp_path / "deeper.safetensors", **more)
    files = find_model(ModelSpec(file, config=str(random_models["sd1"])))
    with pytest.raises(UserError, match="does not match the configuration"):
        load_model(files)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.ones(2, 9, 3, 3)}, "inpainting"),
        (
            {
                "conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias": (
                    torch.ones(1)
                )
            },
            "xl_refiner",
        ),
        ({"edm_mean": torch.ones(1)}, "playground-v2-5"),
        ({"model.diffusion_model.time_embed.cond_proj.weight": torch.ones(1)}, "distilled"),
        ({"v_pred": torch.ones(1)}, "v-prediction"),
    ],
)
def test_unsupported_checkpoints_are_refused_by_their_keys(
    random_models: dict[str, Path],
    checkpoints: dict[str, str],
    tmp_path: Path,
    tensors: dict[str, torch.Tensor],
    message: str,
) -> None:
    file = _with(checkpoints["sd1"], tmp_path / "other.safetensors", **tensors)
    with pytest.raises(UserError, match=message):
        find_model(ModelSpec(file, config=str(random_models["sd1"])))


def test_files_that_are_no_whole_checkpoint_are_refused(tmp_path: Path) -> None:
    part, pickle = tmp_path / "part.safetensors", tmp_path / "model.ckpt"
    save_file({"decoder.conv_in.weight": torch.ones(1)}, part)
    pickle.write_bytes(b"\x80\x04.")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not safetensors")
    for path, message in (
        (part, "not a complete Stable Diffusion checkpoint"),
        (pickle, "can execute code"),
        (broken, "damaged"),
        (tmp_path / "absent.safetensors", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            find_model(str(path))


def test_a_directory_takes_no_other_configuration(random_models: dict[str, Path]) -> None:
    folder = str(random_models["sd1"])
    with pytest.raises(UserError, match="--model-config is for single files"):
        find_model(ModelSpec(folder, config=folder))


def _change(weights: dict[str, torch.Tensor], kind: str, what: str) -> dict[str, torch.Tensor]:
    prefix = TEXTS[kind]
    keys = [key for key in weights if key.startswith(prefix)]
    if what == "partial":
        return {key: value for key, value in weights.items() if key != keys[-1]}
    if what == "deeper":
        last = [key for key in keys if ".2." in key]
        return weights | {
            key.replace(".2.", f".{number}."): weights[key].clone()
            for key in last
            for number in (3, 4)
        }
    return {f"module.{key}": value for key, value in weights.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("partial", "text_encoder(_2)?: 1 weights? missing|does not match the configuration"),
        ("deeper", "the file has .* of text_encoder"),
        ("prefixed", "not a complete Stable Diffusion checkpoint.* but module"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_without_all_of_its_text_encoder_is_refused(
    random_models: dict[str, Path],
    checkpoints: dict[str, str],
    tmp_path: Path,
    kind: str,
    what: str,
    message: str,
) -> None:
    file = tmp_path / "changed.safetensors"
    save_file(_change(load_file(checkpoints[kind]), kind, what), file)
    with pytest.raises(UserError, match=f"^model: {file}: .*({message})"):
        load_model(ModelSpec(str(file), config=str(random_models[kind])))


@pytest.mark.slow
def test_unscored_parts_of_a_checkpoint_do_not_change_the_hash(
    random_models: dict[str, Path], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    more = {"first_stage_model.x": torch.ones(1), "model_ema.decay": torch.ones(1)}
    positions = {
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.ones(1, 77)
    }
    other = _with(checkpoints["sd1"], tmp_path / "more.safetensors", **more, **positions)
    config = str(random_models["sd1"])
    files = find_model(ModelSpec(other, config=config))
    own = find_model(ModelSpec(checkpoints["sd1"], config=config))
    assert files.weights_hash() == own.weights_hash()
    assert_same_scores(
        Scorer(load_model(files)).score(CAPTIONS), Scorer(load_model(own)).score(CAPTIONS)
    )
