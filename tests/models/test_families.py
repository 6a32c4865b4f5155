"""Each family's adapter against diffusers' own pipeline on the same weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel

from scanner.errors import UserError
from scanner.models import find_model, load_model
from scanner.models.unet_model import cross_attention_layers
from scanner.scoring import Scorer
from scanner.scoring.cost import cost
from tests.random_pipelines import KINDS
from tests.scoring.counting import count_forwards

pytestmark = pytest.mark.slow

CAPTIONS = ["a red apple on a table", "Wow! The Great Wave, 1831!", "", "word " * 100]


def _changed(source: Path, target: Path, file: str, **values: object) -> str:
    """A copy of a model with other values in one of its JSON files."""
    shutil.copytree(source, target)
    path = target / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return str(target)


def _encoded_by_diffusers(pipe: DiffusionPipeline, captions: list[str], height: int, width: int):
    """(caption, empty) as (hidden states, keywords of the U-Net), by the pipeline's own methods."""
    found = pipe.encode_prompt(
        captions, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True
    )
    if len(found) == 2:
        return [(hidden, {}) for hidden in found]
    hidden, empty, pooled, empty_pooled = found
    size = (height, width)
    ids = pipe._get_add_time_ids(size, (0, 0), size, hidden.dtype, pooled.shape[-1])
    ids = ids.expand(len(captions), -1)
    return [
        (text, {"added_cond_kwargs": {"text_embeds": pool, "time_ids": ids}})
        for text, pool in ((hidden, pooled), (empty, empty_pooled))
    ]


@pytest.mark.parametrize("size", [(64, 64), (96, 64)])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_noise_is_that_of_the_pipelines_own_encoding_and_unet(
    random_models: dict[str, Path], kind: str, size: tuple[int, int]
) -> None:
    model = load_model(str(random_models[kind]))
    pipe = DiffusionPipeline.from_pretrained(random_models[kind])
    shape = model.latent_shape(*size)
    x = torch.randn(len(CAPTIONS), *shape, generator=torch.manual_seed(0))
    text = model.encode(model.tokenize(CAPTIONS), shape)
    empty = model.encode_empty(shape).expand(len(CAPTIONS))
    expected = _encoded_by_diffusers(pipe, CAPTIONS, *size)
    for (hidden, keywords), ours in zip(expected, (text, empty), strict=True):
        raw = pipe.unet(x, 981, hidden, **keywords).sample
        alpha = model.scheduler.alphas_cumprod[981]
        noise = raw if kind != "sd2" else alpha.sqrt() * raw + (1 - alpha).sqrt() * x
        assert torch.allclose(model.predict(x, 981, ours), noise, atol=1e-5)


@pytest.mark.parametrize("zeros", [True, False])
@torch.no_grad()
def test_sdxl_s_empty_caption_follows_the_model_s_setting(
    random_models: dict[str, Path], tmp_path: Path, zeros: bool
) -> None:
    values = {"force_zeros_for_empty_prompt": zeros}
    folder = _changed(random_models["sdxl"], tmp_path / "xl", "model_index.json", **values)
    model = load_model(folder)
    pipe = DiffusionPipeline.from_pretrained(folder)
    _, (hidden, keywords) = _encoded_by_diffusers(pipe, ["a cat"], 64, 64)
    empty = model.encode_empty()
    assert torch.allclose(empty.hidden_BLC, hidden, atol=1e-6)
    assert torch.allclose(
        empty.added["text_embeds"], keywords["added_cond_kwargs"]["text_embeds"], atol=1e-6
    )
    assert (empty.hidden_BLC.abs().sum() == 0) == zeros
    assert empty.added["time_ids"].tolist() == [[64, 64, 0, 0, 64, 64]]
    norms = ("noise_norm_first", "noise_norm_low")
    (row,) = Scorer(model, signals=norms).score([""]).to_pylist()
    for norm in norms:
        assert (row[norm] < 1e-4) != zeros


def test_sdxl_s_hash_covers_both_text_sides_and_empty_caption(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    own = random_models["sdxl"]
    copies = [
        _changed(own, tmp_path / "a", "model_index.json", force_zeros_for_empty_prompt=False),
        _changed(own, tmp_path / "b", "text_encoder_2/config.json", hidden_act="quick_gelu"),
        _changed(own, tmp_path / "c", "tokenizer_2/tokenizer_config.json", pad_token="a"),
        _changed(own, tmp_path / "d", "scheduler/scheduler_config.json", beta_end=0.02),
    ]
    hashes = {find_model(str(folder)).weights_hash() for folder in (own, *copies)}
    assert len(hashes) == 5
    other_version = _changed(own, tmp_path / "e", "model_index.json", _diffusers_version="0")
    assert find_model(other_version).weights_hash() == find_model(str(own)).weights_hash()


def test_the_scored_size_reaches_the_size_ids(
    random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(load_model(str(random_models["sdxl"])), height=96, width=64)
    calls = count_forwards(monkeypatch)
    scorer.score(["a cat", "a dog"])
    seen = [call["added_cond_kwargs"]["time_ids"] for call in calls]
    assert {tuple(row) for ids in seen for row in ids.tolist()} == {(96, 64, 0, 0, 96, 64)}
    assert {len(ids) for ids in seen} == {1, 2}


def test_sdxl_s_early_layers_are_those_at_half_resolution() -> None:
    """SDXL's own U-Net, without weights: 70 cross-attentions, the first four at a half."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
    layers = cross_attention_layers(unet)
    assert len(layers) == 70
    assert all(name.startswith("down_blocks.1.attentions.") for name in layers[:4])
    assert not layers[4].startswith("down_blocks.1.")


def test_sdxl_s_early_layers_are_in_the_first_attention_block(
    random_models: dict[str, Path],
) -> None:
    model = load_model(str(random_models["sdxl"]))
    assert model.early_layers == (0, 1, 2, 3)
    assert (
        model.layers[model.entropy_layer] == "down_blocks.1.attentions.1.transformer_blocks.1.attn2"
    )
    assert model.map_layers == (0, 1)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_the_cost_of_every_family_is_counted(random_models: dict[str, Path], kind: str) -> None:
    model = load_model(str(random_models[kind]))
    triage, half, late, standard = (
        cost(Scorer(model, profile)) for profile in ("triage", "late-half", "late", "standard")
    )
    assert 0 < triage.per_caption < late.per_caption < late.forward
    assert 0 < half.per_caption < late.per_caption
    assert standard.per_caption == pytest.approx(triage.per_caption + late.per_caption)
    assert standard.text_encoder > 0


@pytest.mark.parametrize(
    ("kind", "file", "values", "message"),
    [
        (
            "sd1",
            "model_index.json",
            {"_class_name": "FluxPipeline"},
            "FluxPipeline .* not supp.*yet",
        ),
        ("sd1", "model_index.json", {"_class_name": "StableDiffusion3Pipeline"}, "transformer is "),
        ("sd1", "model_index.json", {"_class_name": "StableDiffusionInpaintPipeline"}, "masked"),
        ("sd1", "model_index.json", {"_class_name": "LatentConsistencyModelPipeline"}, "distilled"),
        ("sd1", "model_index.json", {"_class_name": "PixArtAlphaPipeline"}, "supported are"),
        ("sdxl", "model_index.json", {"text_encoder": [None, None]}, "refiner"),
        ("sd1", "unet/config.json", {"time_cond_proj_dim": 256}, "time_cond_proj_dim"),
        ("sdxl", "unet/config.json", {"in_channels": 9}, "inpainting"),
        ("sd1", "scheduler/scheduler_config.json", {"_class_name": "LCMScheduler"}, "distilled"),
        (
            "sdxl",
            "scheduler/scheduler_config.json",
            {
                "_class_name": "EulerAncestralDiscreteScheduler",
                "timestep_spacing": "trailing",
            },
            "distilled .* trailing",
        ),
        ("sdxl", "scheduler/scheduler_config.json", {"prediction_type": "sample"}, "sample"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_reason(
    random_models: dict[str, Path],
    tmp_path: Path,
    kind: str,
    file: str,
    values: dict,
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        find_model(_changed(random_models[kind], tmp_path / "model", file, **values))


def test_noise_levels_that_are_no_ddpms_are_refused(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(random_models["sdxl"], tmp_path / "edm"))
    scheduler = {"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    with pytest.raises(UserError, match="EDMEulerScheduler"):
        find_model(str(folder))
