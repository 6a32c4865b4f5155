"""Damaged and odd model directories: each is one line that names the file and the remedy."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.models import find_model, load_decoder, load_model
from tests.memscan import called
from tests.models.damage import (
    INDEX,
    OPTIONS,
    POINTER,
    SCHEDULER,
    TEXT,
    TEXT_CONFIG,
    TOKENIZER,
    UNET,
    UNET_CONFIG,
    VAE,
    VAE_CONFIG,
    Change,
    edit_weights,
    empty,
    leave_training_output,
    let_index_climb,
    lose_a_shard,
    make_directory,
    misshapen,
    partial,
    prefixed,
    remove,
    rename,
    set_json,
    set_text,
    truncate,
    with_another,
)

NOBODY = 65534
DAMAGED: dict[str, tuple[Change, str]] = {
    "no class": (set_json(INDEX, _class_name=...), r"model_index\.json: _class_name is missing"),
    "class of a module": (set_json(INDEX, _class_name=["mine", "Pipe"]), "_class_name is"),
    "unknown class": (set_json(INDEX, _class_name="MyPipeline"), "a MyPipeline cannot be scanned"),
    "custom part": (set_json(INDEX, unet=["mine", "UNet"]), "unet is mine.UNet"),
    "part not named": (set_json(INDEX, text_encoder=[None, None]), "text_encoder is missing"),
    "part of a wrong type": (set_json(INDEX, unet="unet"), "unet is missing"),
    "index not JSON": (set_text(INDEX, "{ no"), r"model_index\.json: not JSON"),
    "index a list": (set_text(INDEX, "[1]"), r"model_index\.json: not a JSON object but \[1\]"),
    "index a pointer": (set_text(INDEX, POINTER), r"model_index\.json: a git-LFS pointer"),
    "index a directory": (make_directory(INDEX), r"model_index\.json: a directory"),
    "not UTF-8": (
        lambda folder: (folder / UNET_CONFIG).write_bytes(b"\xff\xfe{"),
        r"unet/config\.json: not UTF-8",
    ),
    "attention of the hub": (
        set_json(TEXT_CONFIG, attn_implementation="kernels-community/x"),
        r"text_encoder/config\.json: attention implementation kernels-community/x, which can be",
    ),
    "attention within": (
        set_json(TEXT_CONFIG, text_config={"_attn_implementation": "mine/x"}),
        r"text_encoder/config\.json: attention implementation mine/x, which can be remote code",
    ),
    "unet config not JSON": (set_text(UNET_CONFIG, ""), r"unet/config\.json: not JSON"),
    "unet config null": (set_text(UNET_CONFIG, "null"), r"unet/config\.json: not a JSON object"),
    "text config not JSON": (set_text(TEXT_CONFIG, "{"), r"text_encoder/config\.json: not JSON"),
    "text config odd": (set_json(TEXT_CONFIG, hidden_size="wide"), r"text_encoder/config\.json: "),
    "unet config odd": (set_json(UNET_CONFIG, layers_per_block="two"), "unet/: cannot be loaded"),
    "vae config not JSON": (set_text(VAE_CONFIG, "{"), r"vae/config\.json: not JSON"),
    "vae config odd": (
        set_json(VAE_CONFIG, block_out_channels=...),
        r"vae/config\.json: 'block_out",
    ),
    "scheduler not JSON": (set_text(SCHEDULER, "{"), r"scheduler_config\.json: not JSON"),
    "scheduler odd": (set_json(SCHEDULER, beta_schedule="mine"), r"scheduler_config\.json: cannot"),
    "no scheduler": (remove("scheduler"), "scheduler/: missing"),
    "no scheduler config": (remove(SCHEDULER), r"scheduler_config\.json: missing"),
    "no unet": (remove("unet"), "unet/: missing"),
    "ema only": (rename("unet", "unet_ema"), r"unet/: missing.*found unet_ema"),
    "no vae": (remove("vae"), "vae/: missing"),
    "no unet config": (remove(UNET_CONFIG), r"unet/config\.json: missing"),
    "no tokenizer": (remove("tokenizer"), "tokenizer/: missing"),
    "no vocabulary": (remove(TOKENIZER), r"tokenizer/vocab\.json: missing"),
    "no merges": (
        lambda folder: (remove(TOKENIZER)(folder), set_text("tokenizer/vocab.json", "{}")(folder)),
        r"tokenizer/merges\.txt: missing",
    ),
    "tokenizer a pointer": (set_text(TOKENIZER, POINTER), "tokenizer.json: a git-LFS pointer"),
    "tokenizer odd": (set_text(TOKENIZER, "{}"), "tokenizer/: 'added_tokens' is missing"),
    "no length": (set_json(OPTIONS, model_max_length=...), "no model_max_length.*77"),
    "length too long": (set_json(OPTIONS, model_max_length=99), "model_max_length 99.*77"),
    "length a text": (set_json(OPTIONS, model_max_length="77"), "model_max_length '77'"),
    "small vocabulary": (set_json(TEXT_CONFIG, vocab_size=500), "vocab_size 500"),
    "other text width": (set_json(UNET_CONFIG, cross_attention_dim=64), "cross_attention_dim 64"),
    "other latents": (set_json(VAE_CONFIG, latent_channels=16), "in_channels 4.*16"),
    "for pooled text": (set_json(UNET_CONFIG, addition_embed_type="text_time"), "addition_embed"),
    "weights a pointer": (set_text(TEXT, POINTER), "text_encoder/model.safetensors: a git-LFS"),
    "weights empty": (set_text(TEXT, ""), "text_encoder/model.safetensors: not a safetensors file"),
    "weights truncated": (truncate, "unet/diffusion_pytorch_model.safetensors: not a safeten"),
    "weights a directory": (make_directory(TEXT), "text_encoder/model.safetensors: a directory"),
    "no weights": (remove(UNET), r"no safetensors weights in unet/"),
    "pickled": (
        rename(UNET, "unet/diffusion_pytorch_model.bin"),
        r"pytorch_model\.bin.*execute code",
    ),
    "non_ema only": (
        rename(UNET, "unet/diffusion_pytorch_model.non_ema.safetensors"),
        r"non_ema\.safetensors.*rename the one to scan to diffusion_pytorch_model\.safetensors",
    ),
    "no shard": (lose_a_shard, "00002-of-00002.safetensors: missing, but listed in the index"),
    "index of shards odd": (set_text(f"{UNET}.index.json", "{}"), "weight_map is missing"),
    "index of shards not JSON": (set_text(f"{UNET}.index.json", "{"), "index.json: not JSON"),
    "index of shards elsewhere": (let_index_climb, r"\.\./vae/.* is not a \.safetensors file"),
    "distributed text": (
        edit_weights(TEXT, prefixed("module.")),
        r"text_encoder/: 52 weights missing .* begin with module\., saved by DistributedData",
    ),
    "distributed unet": (edit_weights(UNET, prefixed("module.")), "DistributedDataParallel; strip"),
    "compiled unet": (edit_weights(UNET, prefixed("_orig_mod.")), "saved by torch.compile"),
    "unet in another module": (edit_weights(UNET, prefixed("unet.")), "begin with unet., saved as"),
    "adapted text": (
        edit_weights(TEXT, prefixed("base_model.model.")),
        "an unmerged LoRA",
    ),
    "partial text": (
        edit_weights(TEXT, partial),
        "text_encoder/: 2 weights missing.* is incomplete",
    ),
    "partial unet": (edit_weights(UNET, partial), "unet/: 2 weights missing .* is incomplete"),
    "more in text": (edit_weights(TEXT, with_another), r"1 weight in the file .*adapter\.weight"),
    "more in unet": (edit_weights(UNET, with_another), r"1 weight in the file .*adapter\.weight"),
    "misshapen text": (edit_weights(TEXT, misshapen), "text_encoder/: .* with other shapes"),
    "misshapen unet": (edit_weights(UNET, misshapen), "unet/: .* with other shapes"),
    "other depth": (set_json(TEXT_CONFIG, num_hidden_layers=2), "16 weights in the file"),
    "training output": (leave_training_output, "a training's checkpoint.* replace its unet/"),
    "empty directory": (empty, "the directory is empty"),
    "only a lora": (
        lambda folder: (empty(folder), (folder / "pytorch_lora_weights.safetensors").touch()),
        "is a LoRA: name its base model",
    ),
}


@pytest.fixture
def folder(random_models: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(random_models["sd1"], tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_line_that_names_the_file(folder: Path, name: str) -> None:
    damage, message = DAMAGED[name]
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_model(find_model(str(folder)))
    text = str(caught.value)
    assert text.startswith(f"model: {folder}: ")
    assert "\n" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove(VAE), "no safetensors weights in vae/"),
        (set_text(VAE, POINTER), "vae/diffusion_pytorch_model.safetensors: a git-LFS"),
        (edit_weights(VAE, prefixed("module.")), "vae/: .*DistributedDataParallel"),
        (edit_weights(VAE, partial), "vae/: 2 weights missing"),
        (edit_weights(VAE, misshapen), "vae/: .* with other shapes"),
    ],
    ids=["missing", "pointer", "distributed", "partial", "misshapen"],
)
def test_a_damaged_vae_draws_no_pictures(folder: Path, change: Change, message: str) -> None:
    change(folder)
    with pytest.raises(UserError, match=f"^model: {folder}: {message}"):
        load_decoder(find_model(str(folder)), "cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_json("unet/config.json", cross_attention_dim=32), "text_encoder_2 gives 48"),
        (set_json("text_encoder_2/config.json", projection_dim=8), "six sizes give 56"),
        (remove("text_encoder_2"), "text_encoder_2/: missing"),
        (remove("tokenizer_2/tokenizer.json"), "tokenizer_2/vocab.json: missing"),
        (
            edit_weights("text_encoder_2/model.safetensors", prefixed("module.")),
            "text_encoder_2/: 5",
        ),
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


@pytest.fixture
def public(random_models: dict[str, Path]) -> Iterator[Path]:
    """A copy of a model that any user may read."""
    with tempfile.TemporaryDirectory() as outer:
        folder = shutil.copytree(random_models["sd1"], Path(outer) / "model")
        for path in (Path(outer), *Path(outer).rglob("*")):
            path.chmod(0o755)
        yield folder


@pytest.mark.parametrize("place", [INDEX, "tokenizer", TOKENIZER, "unet", UNET_CONFIG, TEXT])
def test_what_may_not_be_read_is_named(public: Path, place: str) -> None:
    (public / place).chmod(0)
    user = os.geteuid()
    os.seteuid(user or NOBODY)  # root may read anything
    try:
        with pytest.raises(UserError, match=f"^model: {public}: .*permission denied .*{place}"):
            load_model(find_model(str(public)))
    finally:
        os.seteuid(user)
        (public / place).chmod(0o755)


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


def test_a_command_ends_with_the_line_and_status_1(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("caption\na cat\n")
    edit_weights(TEXT, prefixed("module."))(folder)
    options = ("--model", str(folder), "--out", str(tmp_path / "run"))
    done = called("scan", "--captions", str(tmp_path / "c.csv"), *options, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"memscan: model: {folder}: text_encoder/: ")
    assert not (tmp_path / "run/run.json").exists()
