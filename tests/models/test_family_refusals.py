"""Models of further families that are damaged, or whose scores would mean something else."""

import json
import shutil
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.models import ModelSpec, find_model
from tests.models.damage import Change, remove, set_json

INDEX = "model_index.json"
TRANSFORMER = "transformer/config.json"
SCHEDULER = "scheduler/scheduler_config.json"

DAMAGED: dict[str, tuple[str, Change, str]] = {
    "schnell": (
        "flux",
        set_json(SCHEDULER, use_dynamic_shifting=False),
        "a few-step distilled model cannot be scanned .its scheduler has no dynamic shift",
    ),
    "filling": ("flux", set_json(TRANSFORMER, out_channels=16), "out_channels 16, but in_channels"),
    "other latents": (
        "flux",
        set_json("vae/config.json", latent_channels=4),
        "in_channels 64, but the latents of vae/config.json have 4 channels, times 4 pixels per",
    ),
    "other pooled text": (
        "flux",
        set_json(TRANSFORMER, pooled_projection_dim=768),
        r"pooled_projection_dim 768, but text_encoder give 32 \(hidden_size\)",
    ),
    "other text": (
        "pixart-sigma",
        set_json(TRANSFORMER, caption_channels=4096),
        r"caption_channels 4096, but text_encoder gives 96 \(hidden sizes\)",
    ),
    "no noise levels": (
        "pixart-alpha",
        set_json(SCHEDULER, _class_name="EulerDiscreteScheduler", beta_start=...),
        "the EulerDiscreteScheduler cannot be scanned: it has no DDPM noise levels",
    ),
    "guided sana": (
        "sana",
        set_json(TRANSFORMER, guidance_embeds=True),
        "few-step distilled model .* takes the guidance scale as an input",
    ),
    "a flow solver of chroma": (
        "chroma",
        set_json(SCHEDULER, _class_name="DPMSolverMultistepScheduler", use_flow_sigmas=True),
        "a transformer with the DPMSolverMultistepScheduler cannot be scanned",
    ),
    "turbo": (
        "z-image",
        set_json(SCHEDULER, shift=3.0),
        "few-step distilled model .* shift is 3, as that of Z-Image-Turbo",
    ),
    "text of another width": (
        "cogview4",
        set_json(TRANSFORMER, text_embed_dim=4096),
        r"text_embed_dim 4096, but text_encoder gives 96 \(hidden sizes\)",
    ),
    "text of another language model": (
        "lumina-2",
        set_json(TRANSFORMER, cap_feat_dim=2304),
        r"cap_feat_dim 2304, but text_encoder gives 96 \(hidden sizes\)",
    ),
    "no tokenizer": ("qwen-image", remove("tokenizer"), "tokenizer/: missing"),
    "another text encoder": (
        "qwen-image",
        set_json(INDEX, text_encoder=["transformers", "Qwen2Model"]),
        "text_encoder is Qwen2Model; a QwenImagePipeline is scanned with a Qwen2_5_VL",
    ),
}
OTHERS = {
    "Flux2Pipeline": "recording lacks its single-stream blocks",
    "FluxKontextPipeline": "an image-editing model also takes an image",
    "FluxFillPipeline": "an inpainting model also takes a masked image",
    "QwenImageEditPipeline": "an image-editing model also takes an image",
    "ZImageOmniPipeline": "it also takes an image",
    "CogView4ControlPipeline": "it also takes an image",
    "SanaSprintPipeline": "a model distilled to a few steps",
    "SanaVideoPipeline": "it generates videos",
    "CogView3PlusPipeline": "its noise levels are those of CogVideoX's schedulers",
    "HiDreamImagePipeline": "its experts are chosen on the host",
    "HunyuanDiTPipeline": "recording lacks its cross-attention, which norms",
    "HunyuanImagePipeline": "its forward reorders each caption's text",
    "Kandinsky5T2IPipeline": "its transformer takes no mask of the text",
    "KolorsPipeline": "its tokenizer does not say where in the caption a token is",
    "LuminaPipeline": "its cross-attention is projected together with the attention of the image",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_and_other_models_are_refused(
    random_families: dict[str, Path], tmp_path: Path, name: str
) -> None:
    kind, change, message = DAMAGED[name]
    folder = Path(shutil.copytree(random_families[kind], tmp_path / "model"))
    change(folder)
    with pytest.raises(UserError, match=message):
        find_model(str(folder))


@pytest.mark.parametrize("pipeline", OTHERS)
def test_other_pipelines_are_refused_with_the_reason(tmp_path: Path, pipeline: str) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"_class_name": pipeline}))
    with pytest.raises(UserError, match=f"a {pipeline} cannot be scanned: {OTHERS[pipeline]}"):
        find_model(str(tmp_path))


def test_a_lora_is_refused(random_families: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--lora: a PixArtTransformer2DModel is not supported"):
        find_model(ModelSpec(str(random_families["pixart-sigma"]), lora=str(tmp_path)))
