"""A LoRA fused at loading, against its equation and against diffusers with the LoRA active."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from scanner.errors import UserError
from scanner.models import ModelSpec, find_model, load_model
from scanner.models.files.lora import find_lora
from scanner.scoring import Scorer
from scanner.storage import Store
from tests.original_layout import save_as_single_file
from tests.random_pipelines import KINDS
from tests.scoring.test_scorer import assert_same_scores

pytestmark = pytest.mark.slow

CAPTIONS = ["a red apple on a table", "The Great Wave"]
RANK, ALPHA = 2, 1.0
UNET = (
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
    "down_blocks.1.attentions.1.transformer_blocks.0.attn1.to_q",
    "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0",
)
TEXT = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.self_attn.out_proj")
FORMATS = ("diffusers", "diffusers with text_model", "kohya")


def _targets(kind: str) -> list[tuple[str, str]]:
    encoders = ("text_encoder", "text_encoder_2") if kind == "sdxl" else ("text_encoder",)
    return [("unet", name) for name in UNET] + [(part, name) for part in encoders for name in TEXT]


def _module(pipe: object, part: str, name: str) -> torch.nn.Linear:
    owner = getattr(pipe, part)
    return getattr(owner, "text_model", owner).get_submodule(name)


def _matrices(pipe: object, kind: str) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    """(down, up) of every target."""
    torch.manual_seed(5)
    found = {}
    for part, name in _targets(kind):
        height, width = _module(pipe, part, name).weight.shape
        found[part, name] = (torch.randn(RANK, width), torch.randn(height, RANK))
    return found


def _keys(part: str, name: str, layout: str) -> tuple[str, str, str | None]:
    """Of down, up and alpha, as the trainers of each format write them."""
    if layout == "kohya":
        prefix = {"unet": "unet", "text_encoder": "te1", "text_encoder_2": "te2"}[part]
        inner = name if part == "unet" else f"text_model.{name}"
        stem = f"lora_{prefix}_{inner.replace('.', '_')}"
        return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight", f"{stem}.alpha"
    if part == "unet":
        return f"unet.{name}.lora.down.weight", f"unet.{name}.lora.up.weight", None
    # Only transformers 5's first encoder has lost the name; older files have it in both.
    wrapped = part == "text_encoder_2" or layout.endswith("text_model")
    inner = f"text_model.{name}" if wrapped else name
    stem = f"{part}.{inner}.lora_linear_layer"
    return f"{stem}.down.weight", f"{stem}.up.weight", None


def _save(path: Path, matrices: dict[tuple[str, str], tuple[Tensor, Tensor]], layout: str) -> Path:
    weights: dict[str, Tensor] = {}
    for (part, name), (down, up) in matrices.items():
        down_key, up_key, alpha_key = _keys(part, name, layout)
        weights |= {down_key: down, up_key: up}
        if alpha_key:
            weights[alpha_key] = torch.tensor(ALPHA)
    save_file(weights, path)
    return path


@pytest.fixture(scope="module")
def loras(
    random_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("loras")
    return {
        kind: str(
            _save(
                folder / f"{kind}.safetensors",
                _matrices(DiffusionPipeline.from_pretrained(random_models[kind]), kind),
                "diffusers",
            )
        )
        for kind in KINDS
    }


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_target_gets_its_update_and_nothing_else_changes(
    random_models: dict[str, Path], tmp_path: Path, kind: str, layout: str
) -> None:
    """W + scale · alpha / rank · up · down, in U-Net and text encoders."""
    plain = load_model(str(random_models[kind]))
    matrices = _matrices(plain, kind)
    file = _save(tmp_path / "lora.safetensors", matrices, layout)
    fused = load_model(ModelSpec(str(random_models[kind]), lora=str(file), lora_scale=0.5))
    factor = 0.5 * (ALPHA / RANK if layout == "kohya" else 1.0)
    updates = {
        id(_module(fused, part, name).weight): factor * up @ down
        for (part, name), (down, up) in matrices.items()
    }
    for part in plain.parts:
        own, other = getattr(plain, part), getattr(fused, part)
        names = dict(other.named_parameters())
        assert names.keys() == dict(own.named_parameters()).keys()
        for name, weight in own.named_parameters():
            expected = weight + updates.pop(id(names[name]), 0)
            assert torch.allclose(names[name], expected, atol=1e-6), name
            assert not names[name].requires_grad
    assert not updates


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_fused_lora_predicts_as_diffusers_active_lora(
    random_models: dict[str, Path], loras: dict[str, str], kind: str
) -> None:
    model = load_model(ModelSpec(str(random_models[kind]), lora=loras[kind], lora_scale=0.7))
    pipe = DiffusionPipeline.from_pretrained(random_models[kind])
    pipe.load_lora_weights(loras[kind], adapter_name="lora")
    pipe.set_adapters(["lora"], [0.7])
    plain = load_model(str(random_models[kind]))
    active = type(model)(
        **{name: getattr(pipe, name) for name in (*model.parts, *model.tokenizers)},
        noise_process=model.noise_process,
        weights="",
    )
    x = torch.randn(len(CAPTIONS), *model.latent_shape(), generator=torch.manual_seed(0))
    noise, expected, without = (
        m.predict(x, 981, m.encode(m.tokenize(CAPTIONS))) for m in (model, active, plain)
    )
    assert torch.allclose(noise, expected, atol=1e-5)
    assert not torch.allclose(noise, without, atol=1e-3)


def test_a_lora_changes_the_scores_and_scale_zero_does_not(
    random_models: dict[str, Path], loras: dict[str, str]
) -> None:
    folder = str(random_models["sd1"])
    plain = Scorer(load_model(folder)).score(CAPTIONS)
    zero = Scorer(load_model(ModelSpec(folder, lora=loras["sd1"], lora_scale=0.0))).score(CAPTIONS)
    assert_same_scores(plain, zero)
    full = Scorer(load_model(ModelSpec(folder, lora=loras["sd1"]))).score(CAPTIONS)
    for before, after in zip(plain.to_pylist(), full.to_pylist(), strict=True):
        assert abs(before["noise_norm_low"] - after["noise_norm_low"]) > 1e-3
        assert abs(before["entropy_e"] - after["entropy_e"]) > 1e-4


def test_the_hash_covers_the_lora_and_its_scale(
    random_models: dict[str, Path], loras: dict[str, str], tmp_path: Path
) -> None:
    folder = str(random_models["sd1"])
    matrices = _matrices(load_model(folder), "sd1")
    other = {target: (down + 1, up) for target, (down, up) in matrices.items()}
    changed = _save(tmp_path / "changed.safetensors", other, "diffusers")
    hashes = {
        find_model(folder).weights_hash(),
        find_model(ModelSpec(folder, lora=loras["sd1"])).weights_hash(),
        find_model(ModelSpec(folder, lora=loras["sd1"], lora_scale=0.5)).weights_hash(),
        find_model(ModelSpec(folder, lora=str(changed))).weights_hash(),
    }
    assert len(hashes) == 4
    again = find_model(ModelSpec(folder, lora=loras["sd1"], lora_scale=0.5))
    assert again.weights_hash() in hashes


def test_a_lora_goes_on_top_of_a_single_file(
    random_models: dict[str, Path], loras: dict[str, str], tmp_path: Path
) -> None:
    folder = str(random_models["sd1"])
    file = save_as_single_file(
        DiffusionPipeline.from_pretrained(folder), tmp_path / "model.safetensors"
    )
    single = load_model(ModelSpec(str(file), config=folder, lora=loras["sd1"]))
    assert_same_scores(
        Scorer(single).score(CAPTIONS),
        Scorer(load_model(ModelSpec(folder, lora=loras["sd1"]))).score(CAPTIONS),
    )


@pytest.mark.parametrize(("made_for", "model"), [("sd1", "sdxl"), ("sdxl", "sd1")])
def test_a_lora_for_another_model_is_a_clear_error(
    random_models: dict[str, Path], loras: dict[str, str], made_for: str, model: str
) -> None:
    with pytest.raises(UserError, match="was it made for another model"):
        load_model(ModelSpec(str(random_models[model]), lora=loras[made_for]))


def test_a_lora_of_which_a_part_has_no_place_is_an_error(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = str(random_models["sd1"])
    matrices = _matrices(load_model(folder), "sd1")
    matrices["text_encoder_2", TEXT[0]] = (torch.ones(RANK, 32), torch.ones(32, RANK))
    file = _save(tmp_path / "lora.safetensors", matrices, "diffusers")
    with pytest.raises(UserError, match="5 of its 6 layers"):
        load_model(ModelSpec(folder, lora=str(file)))


def test_a_lora_is_found_as_a_file_a_directory_or_a_url(
    loras: dict[str, str], s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    data = Path(loras["sd1"]).read_bytes()
    usual = tmp_path / "usual"
    usual.mkdir()
    (usual / "pytorch_lora_weights.safetensors").write_bytes(data)
    (usual / "other.safetensors").write_bytes(b"")
    single = tmp_path / "single"
    single.mkdir()
    (single / "mine.safetensors").write_bytes(data)
    Store(s3).upload(Path(loras["sd1"]), "loras/mine.safetensors")
    places = [loras["sd1"], str(usual), str(single), f"{s3}/loras/mine.safetensors", f"{s3}/loras"]
    for place in places:
        assert find_lora(place).read_bytes() == data


def test_what_is_no_lora_in_safetensors_is_refused(tmp_path: Path) -> None:
    pickle, dora = tmp_path / "lora.bin", tmp_path / "dora.safetensors"
    pickle.write_bytes(b"\x80\x04.")
    save_file({"lora_unet_x.dora_scale": torch.ones(1)}, dora)
    several = tmp_path / "several"
    several.mkdir()
    for name in ("a", "b"):
        (several / f"{name}.safetensors").write_bytes(b"")
    for place, message in (
        (pickle, "can execute code"),
        (dora, "DoRA"),
        (several, "2 .safetensors files"),
        (tmp_path / "absent", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            find_lora(str(place))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: dict(list(w.items())[1:]), "1 weights of a pair are missing .* is incomplete"),
        (lambda w: {f"module.{key}": value for key, value in w.items()}, "0 of its 5 layers"),
        (
            lambda w: w | {"bundle_emb.x": torch.ones(1)},
            r"1 of its 11 weights .*bundle_emb",
        ),
        (lambda w: {"conv_in.weight": torch.ones(1)}, "1 of its 1 weights do not belong to a LoRA"),
        (lambda w: {}, "0 of its 0 weights do not belong to a LoRA"),
    ],
    ids=["partial", "prefixed", "more", "another model", "empty"],
)
def test_a_damaged_lora_is_one_line_that_names_it(
    random_models: dict[str, Path],
    loras: dict[str, str],
    tmp_path: Path,
    edit: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    message: str,
) -> None:
    file = tmp_path / "lora.safetensors"
    save_file(edit(load_file(loras["sd1"])), file)
    with pytest.raises(UserError, match=f"^model: --lora {file}: .*{message}"):
        load_model(ModelSpec(str(random_models["sd1"]), lora=str(file)))


def test_a_lora_that_is_a_pointer_or_truncated_is_one_line(
    random_models: dict[str, Path], loras: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "lora.safetensors"
    whole = Path(loras["sd1"]).read_bytes()
    for data, message in (
        (b"version https://git-lfs.github.com/spec/v1", "a git-LFS pointer"),
        (whole[:-9], "not a safetensors file, or damaged"),
        (b"", "not a safetensors file, or damaged"),
    ):
        file.write_bytes(data)
        with pytest.raises(UserError, match=f"^model: --lora {file}: .*{message}"):
            find_model(ModelSpec(str(random_models["sd1"]), lora=str(file)))
