"""Damaged and odd model directories: each is one line that names the file and the remedy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scanner.errors import UserError
from scanner.models import load_decoder, load_model
from scanner.models.finding import find_model
from tests.memscan import called

Change = Callable[[Path], Any]
UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def _json(file: str, **values: Any) -> Change:
    """Set entries of a JSON file; ... removes one."""

    def change(folder: Path) -> None:
        old = json.loads((folder / file).read_text())
        new = {key: value for key, value in (old | values).items() if value is not ...}
        (folder / file).write_text(json.dumps(new))

    return change


def _text(file: str, text: str) -> Change:
    return lambda folder: (folder / file).write_text(text)


def _no(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def _weights(file: str, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Change:
    return lambda folder: save_file(edit(load_file(folder / file)), folder / file)


def _prefixed(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda weights: {f"{prefix}{key}": value for key, value in weights.items()}


def _partial(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(sorted(weights.items())[2:])


def _extra(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"adapter.weight": torch.ones(2)}


def _misshapen(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value[:1].contiguous() for key, value in weights.items()}


def _renamed(old: str, new: str) -> Change:
    return lambda folder: (folder / old).rename(folder / new)


def _truncated(folder: Path) -> None:
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:-100])


def _sharded(folder: Path, shards: int = 2) -> None:
    """The U-Net in shards, as save_pretrained(max_shard_size=...) leaves it."""
    weights = sorted(load_file(folder / UNET).items())
    (folder / UNET).unlink()
    places = {}
    for number in range(shards):
        name = f"diffusion_pytorch_model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(weights[number::shards])
        save_file(part, folder / "unet" / name, {"format": "pt"})
        places |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / f"{UNET}.index.json").write_text(json.dumps(index))


def _lacking_a_shard(folder: Path) -> None:
    _sharded(folder)
    (folder / "unet/diffusion_pytorch_model-00002-of-00002.safetensors").unlink()


def _climbing_index(folder: Path) -> None:
    index = {"weight_map": {"a": "../vae/diffusion_pytorch_model.safetensors"}}
    (folder / f"{UNET}.index.json").write_text(json.dumps(index))


def _training_output(folder: Path) -> None:
    _no("model_index.json", "vae", "text_encoder", "tokenizer", "scheduler")(folder)
    (folder / "optimizer.bin").write_bytes(b"")


def _empty(folder: Path) -> None:
    _no(*(path.name for path in folder.iterdir()))(folder)


def _as_a_directory(file: str) -> Change:
    def change(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return change


INDEX, UNET_CONFIG, TEXT_CONFIG = "model_index.json", "unet/config.json", "text_encoder/config.json"
TOKENIZER, OPTIONS = "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"
SCHEDULER, VAE_CONFIG = "scheduler/scheduler_config.json", "vae/config.json"
DAMAGED: dict[str, tuple[Change, str]] = {
    "no class": (_json(INDEX, _class_name=...), r"model_index\.json: no _class_name"),
    "class of a module": (_json(INDEX, _class_name=["mine", "Pipe"]), "_class_name is"),
    "unknown class": (_json(INDEX, _class_name="MyPipeline"), "a MyPipeline cannot be scanned"),
    "custom part": (_json(INDEX, unet=["mine", "UNet"]), "unet is mine.UNet"),
    "part not named": (_json(INDEX, text_encoder=[None, None]), "text_encoder is not named"),
    "part of a wrong type": (_json(INDEX, unet="unet"), "unet is not named"),
    "index not JSON": (_text(INDEX, "{ no"), r"model_index\.json: not JSON"),
    "index a list": (_text(INDEX, "[1]"), r"model_index\.json: not a JSON object but \[1\]"),
    "index a pointer": (_text(INDEX, POINTER), r"model_index\.json: a git-LFS pointer"),
    "index a directory": (_as_a_directory(INDEX), r"model_index\.json: a directory"),
    "not UTF-8": (
        lambda folder: (folder / UNET_CONFIG).write_bytes(b"\xff\xfe{"),
        r"unet/config\.json: not UTF-8",
    ),
    "unet config not JSON": (_text(UNET_CONFIG, ""), r"unet/config\.json: not JSON"),
    "unet config null": (_text(UNET_CONFIG, "null"), r"unet/config\.json: not a JSON object"),
    "text config not JSON": (_text(TEXT_CONFIG, "{"), r"text_encoder/config\.json: not JSON"),
    "text config odd": (_json(TEXT_CONFIG, hidden_size="wide"), r"text_encoder/config\.json: "),
    "unet config odd": (_json(UNET_CONFIG, layers_per_block="two"), "unet/: cannot be loaded"),
    "vae config not JSON": (_text(VAE_CONFIG, "{"), r"vae/config\.json: not JSON"),
    "vae config odd": (_json(VAE_CONFIG, block_out_channels=...), r"vae/config\.json: 'block_out"),
    "scheduler not JSON": (_text(SCHEDULER, "{"), r"scheduler_config\.json: not JSON"),
    "scheduler odd": (_json(SCHEDULER, beta_schedule="mine"), r"scheduler_config\.json: cannot"),
    "no scheduler": (_no("scheduler"), "scheduler/: missing"),
    "no scheduler config": (_no(SCHEDULER), r"scheduler_config\.json: missing"),
    "no unet": (_no("unet"), "unet/: missing"),
    "ema only": (_renamed("unet", "unet_ema"), r"unet/: missing.*unet_ema is there"),
    "no vae": (_no("vae"), "vae/: missing"),
    "no unet config": (_no(UNET_CONFIG), r"unet/config\.json: missing"),
    "no tokenizer": (_no("tokenizer"), "tokenizer/: missing"),
    "no vocabulary": (_no(TOKENIZER), r"tokenizer/vocab\.json: missing"),
    "no merges": (
        lambda folder: (_no(TOKENIZER)(folder), _text("tokenizer/vocab.json", "{}")(folder)),
        r"tokenizer/merges\.txt: missing",
    ),
    "tokenizer a pointer": (_text(TOKENIZER, POINTER), "tokenizer.json: a git-LFS pointer"),
    "tokenizer odd": (_text(TOKENIZER, "{}"), "tokenizer/: 'added_tokens' is missing"),
    "no length": (_json(OPTIONS, model_max_length=...), "no model_max_length.*77"),
    "length too long": (_json(OPTIONS, model_max_length=99), "model_max_length 99.*77"),
    "length a text": (_json(OPTIONS, model_max_length="77"), "model_max_length '77'"),
    "small vocabulary": (_json(TEXT_CONFIG, vocab_size=500), "vocab_size 500"),
    "other text width": (_json(UNET_CONFIG, cross_attention_dim=64), "cross_attention_dim 64"),
    "other latents": (_json(VAE_CONFIG, latent_channels=16), "in_channels 4.*16"),
    "for pooled text": (_json(UNET_CONFIG, addition_embed_type="text_time"), "addition_embed"),
    "weights a pointer": (_text(TEXT, POINTER), "text_encoder/model.safetensors: a git-LFS"),
    "weights empty": (_text(TEXT, ""), "text_encoder/model.safetensors: not a safetensors file"),
    "weights truncated": (_truncated, "unet/diffusion_pytorch_model.safetensors: not a safeten"),
    "weights a directory": (_as_a_directory(TEXT), "text_encoder/model.safetensors: a directory"),
    "no weights": (_no(UNET), r"no safetensors weights in unet/"),
    "pickled": (
        _renamed(UNET, "unet/diffusion_pytorch_model.bin"),
        r"pytorch_model\.bin.*run code",
    ),
    "fp16 only": (
        _renamed(UNET, "unet/diffusion_pytorch_model.fp16.safetensors"),
        r"fp16\.safetensors.*rename the one to scan to diffusion_pytorch_model\.safetensors",
    ),
    "non_ema only": (
        _renamed(UNET, "unet/diffusion_pytorch_model.non_ema.safetensors"),
        r"non_ema\.safetensors.*rename the one to scan",
    ),
    "no shard": (_lacking_a_shard, "00002-of-00002.safetensors: missing, and the index names it"),
    "index of shards odd": (_text(f"{UNET}.index.json", "{}"), "no weight_map"),
    "index of shards not JSON": (_text(f"{UNET}.index.json", "{"), "index.json: not JSON"),
    "index of shards elsewhere": (_climbing_index, r"\.\./vae/.* is not a \.safetensors file"),
    "distributed text": (
        _weights(TEXT, _prefixed("module.")),
        r"text_encoder/: 52 weights missing .* begin with module\., saved by DistributedData",
    ),
    "distributed unet": (_weights(UNET, _prefixed("module.")), "DistributedDataParallel; strip"),
    "compiled unet": (_weights(UNET, _prefixed("_orig_mod.")), "saved by torch.compile"),
    "unet in another module": (_weights(UNET, _prefixed("unet.")), "begin with unet., saved as"),
    "adapted text": (_weights(TEXT, _prefixed("base_model.model.")), "a LoRA that is not merged"),
    "partial text": (_weights(TEXT, _partial), "text_encoder/: 2 weights missing.* is partial"),
    "partial unet": (_weights(UNET, _partial), "unet/: 2 weights missing .* is partial"),
    "more in text": (_weights(TEXT, _extra), r"1 weight in the file .*adapter\.weight"),
    "more in unet": (_weights(UNET, _extra), r"1 weight in the file .*adapter\.weight"),
    "misshapen text": (_weights(TEXT, _misshapen), "text_encoder/: .* of other shapes"),
    "misshapen unet": (_weights(UNET, _misshapen), "unet/: .* of other shapes"),
    "other depth": (_json(TEXT_CONFIG, num_hidden_layers=2), "16 weights in the file"),
    "training output": (_training_output, "a training's checkpoint.* replace its unet/"),
    "empty directory": (_empty, "the directory is empty"),
    "only a lora": (
        lambda folder: (_empty(folder), (folder / "pytorch_lora_weights.safetensors").touch()),
        "is a LoRA: name its base model",
    ),
}


@pytest.fixture
def folder(random_models: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(random_models["sd1"], tmp_path / "model")


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_line_that_names_the_file(folder: Path, name: str) -> None:
    damage, message = DAMAGED[name]
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_model(find_model(str(folder)))
    text = str(caught.value)
    assert text.startswith(f"model: {folder}: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_no(VAE), "no safetensors weights in vae/"),
        (_text(VAE, POINTER), "vae/diffusion_pytorch_model.safetensors: a git-LFS"),
        (_weights(VAE, _prefixed("module.")), "vae/: .*DistributedDataParallel"),
        (_weights(VAE, _partial), "vae/: 2 weights missing"),
        (_weights(VAE, _misshapen), "vae/: .* of other shapes"),
    ],
    ids=["missing", "pointer", "distributed", "partial", "misshapen"],
)
def test_a_damaged_vae_draws_no_pictures(folder: Path, change: Change, message: str) -> None:
    change(folder)
    with pytest.raises(UserError, match=f"^model: {folder}: {message}"):
        load_decoder(find_model(str(folder)), "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_json("unet/config.json", cross_attention_dim=32), "text_encoder_2 gives 48"),
        (_json("text_encoder_2/config.json", projection_dim=8), "six sizes give 56"),
        (_no("text_encoder_2"), "text_encoder_2/: missing"),
        (_no("tokenizer_2/tokenizer.json"), "tokenizer_2/vocab.json: missing"),
        (_weights("text_encoder_2/model.safetensors", _prefixed("module.")), "text_encoder_2/: 5"),
    ],
    ids=["width", "pooled", "missing", "vocabulary", "distributed"],
)
def test_a_damaged_second_text_encoder_is_named(
    random_models: dict[str, Path], tmp_path: Path, change: Change, message: str
) -> None:
    folder = shutil.copytree(random_models["sdxl"], tmp_path / "model")
    change(folder)
    with pytest.raises(UserError, match=f"^model: .*{message}"):
        load_model(find_model(str(folder)))


def test_names_that_are_no_model_directory_say_what_to_name(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    outer = tmp_path / "outer"
    shutil.copytree(random_models["sd1"], outer / "inner")
    a_file = tmp_path / "model.txt"
    a_file.touch()
    for path, message in (
        (outer, "one is in inner/: name that directory"),
        (outer / "inner/unet", "unet/ is a part of one: name the directory above"),
        (a_file, "a file where the directory of a diffusers model is expected"),
        (outer / "inner/unet/config.json", "a file where the directory"),
        (tmp_path / "none.safetensors", "no such file"),
    ):
        with pytest.raises(UserError, match=f"^model: {path}: .*{message}"):
            find_model(str(path))
    named_as_a_file = shutil.copytree(random_models["sd1"], tmp_path / "model.safetensors")
    assert find_model(str(named_as_a_file)).checkpoint is None


def _with_positions(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return _prefixed("text_model.")(weights) | {
        "text_model.embeddings.position_ids": torch.arange(77)[None]
    }


def _of_a_whole_clip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    others = ("logit_scale", "text_projection.weight", "vision_model.post_layernorm.bias")
    return _with_positions(weights) | {name: torch.ones(1) for name in others}


def _old_attention(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    found = {}
    for key, value in weights.items():
        for new, old in names.items():
            key = key.replace(new, old) if "attentions" in key else key
        found[key] = value
    return found


@pytest.mark.parametrize(
    "change",
    [
        _weights(TEXT, _prefixed("text_model.")),
        _weights(TEXT, _with_positions),
        _weights(TEXT, _of_a_whole_clip),
        _weights(VAE, _old_attention),
        _json(INDEX, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"]),
        _json(UNET_CONFIG, decay=0.9999, optimization_step=10),
        _sharded,
    ],
    ids=["text_model", "positions", "clip", "old vae", "no checker", "ema model", "sharded"],
)
def test_published_layouts_load_with_the_same_weights(
    random_models: dict[str, Path], folder: Path, change: Change
) -> None:
    change(folder)
    files, plain = find_model(str(folder)), load_model(str(random_models["sd1"]))
    model = load_model(files)
    for part in model.parts:
        own, other = getattr(plain, part).state_dict(), getattr(model, part).state_dict()
        assert own.keys() == other.keys()
        assert all(torch.equal(own[key], other[key]) for key in own)
    assert load_decoder(files, "cpu")(torch.ones(1, 4, 8, 8)).isfinite().all()


def test_a_command_ends_with_the_line_and_status_1(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("caption\na cat\n")
    _weights(TEXT, _prefixed("module."))(folder)
    options = ("--model", str(folder), "--out", str(tmp_path / "run"))
    done = called("scan", "--captions", str(tmp_path / "c.csv"), *options, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"memscan: model: {folder}: text_encoder/: ")
    assert not (tmp_path / "run/run.json").exists()
