"""Transformers that cannot be scored: each is one line that names the file and the remedy."""

import shutil
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.models import find_model, load_model
from scanner.models.families.registry import refuse_configuration
from scanner.models.families.stable_diffusion_3 import StableDiffusion3
from tests.models.damage import (
    INDEX,
    SCHEDULER,
    VAE_CONFIG,
    Change,
    edit_weights,
    misshapen,
    partial,
    remove,
    set_json,
)

TRANSFORMER = "transformer/config.json"
T5, T5_CONFIG = "text_encoder_3/model.safetensors", "text_encoder_3/config.json"
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
DAMAGED: dict[str, tuple[Change, str]] = {
    "other scheduler": (
        set_json(SCHEDULER, _class_name="DPMSolverMultistepScheduler"),
        "a transformer with the DPMSolverMultistepScheduler cannot be scanned: its noise levels",
    ),
    "ddpm": (set_json(SCHEDULER, _class_name="DDIMScheduler", beta_start=1e-4), "DDIMScheduler"),
    **{
        entry: (
            set_json(SCHEDULER, **{entry: True}),
            f"scheduler_config.json: {entry} is not supported; set it to false",
        )
        for entry in (
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "invert_sigmas",
            "stochastic_sampling",
        )
    },
    "odd scheduler": (set_json(SCHEDULER, time_shift_type="mine"), r"scheduler_config\.json: "),
    "no scheduler": (remove("scheduler"), "scheduler/: missing"),
    "narrow joint attention": (
        set_json(TRANSFORMER, joint_attention_dim=64),
        "joint_attention_dim 64, but text_encoder and text_encoder_2 give 80 and text_encoder_3 "
        r"gives 96 \(hidden sizes\); use parts of the same model",
    ),
    "wide joint attention": (set_json(TRANSFORMER, joint_attention_dim=128), "joint_attention_dim"),
    "wide t5": (set_json(T5_CONFIG, d_model=128), "text_encoder_3 gives 128"),
    "other pooled width": (
        set_json(TRANSFORMER, pooled_projection_dim=2048),
        r"pooled_projection_dim 2048, but text_encoder and text_encoder_2 give 40 \(projection",
    ),
    "other latents": (
        set_json(TRANSFORMER, in_channels=4, out_channels=4),
        r"transformer/config\.json: in_channels 4, but the latents of vae/config\.json have 16",
    ),
    "other text length": (
        set_json("tokenizer_2/tokenizer_config.json", model_max_length=60),
        r"model_max_length differs \(tokenizer 77 and tokenizer_2 60\)",
    ),
    "other vae": (set_json(VAE_CONFIG, latent_channels=4), "in_channels 16, but .* 4"),
    "other output": (
        set_json(TRANSFORMER, out_channels=32),
        r"transformer/config\.json: out_channels 32, but in_channels 16",
    ),
    "no transformer": (remove("transformer"), "transformer/: missing; download or save"),
    "no second text encoder": (remove("text_encoder_2"), "text_encoder_2/: missing"),
    "no t5": (remove("text_encoder_3"), "text_encoder_3/: missing; download or save the model"),
    "no t5 tokenizer": (remove("tokenizer_3"), "tokenizer_3/: missing"),
    "t5 tokenizer without its vocabulary": (
        remove("tokenizer_3/tokenizer.json"),
        r"tokenizer_3/spiece\.model: missing, as is tokenizer_3/tokenizer\.json; copy the",
    ),
    "small t5": (
        set_json(T5_CONFIG, vocab_size=100),
        r"tokenizer_3/: token ids reach \d+, but text_encoder_3/config.json has vocab_size 100",
    ),
    "t5 attention of the hub": (
        set_json(T5_CONFIG, attn_implementation="mine/x"),
        r"text_encoder_3/config\.json: attention implementation mine/x",
    ),
    "no weights of t5": (remove(T5), "no safetensors weights in text_encoder_3/"),
    "partial t5": (edit_weights(T5, partial), "text_encoder_3/: 2 weights missing"),
    "misshapen t5": (edit_weights(T5, misshapen), "text_encoder_3/: .* with other shapes"),
    "other transformer": (
        set_json(INDEX, transformer=["diffusers", "FluxTransformer2DModel"]),
        "model_index.json: transformer is FluxTransformer2DModel; a StableDiffusion3Pipeline is "
        "scanned with a SD3Transformer2DModel",
    ),
    "own transformer": (
        set_json(INDEX, transformer=["mine", "SD3Transformer2DModel"]),
        "transformer is mine.SD3Transformer2DModel",
    ),
    "other t5": (set_json(INDEX, text_encoder_3=["transformers", "CLIPTextModel"]), "T5EncoderM"),
    "not named": (set_json(INDEX, text_encoder_2=[None, None]), "text_encoder_2 is missing"),
    "other pipeline": (
        set_json(INDEX, _class_name="StableDiffusion3InpaintPipeline"),
        "an inpainting model also takes a masked image",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_line_that_names_the_file(
    random_transformers: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(random_transformers["sd3-t5"], tmp_path / "model"))
    change, message = DAMAGED[name]
    change(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_model(find_model(str(folder)))
    text = str(caught.value)
    assert text.startswith(f"model: {folder}: ")
    assert "\n" not in text


@pytest.mark.slow
@pytest.mark.parametrize("missing", [[None, None], None, ...])
def test_t5_is_left_out_if_the_index_says_so(
    random_transformers: dict[str, Path], tmp_path: Path, missing: object
) -> None:
    """Null parts are not missing ones, and their folders are not read."""
    folder = Path(shutil.copytree(random_transformers["sd3-t5"], tmp_path / "model"))
    set_json(INDEX, text_encoder_3=missing, tokenizer_3=missing)(folder)
    (folder / T5).write_text("not weights")
    files = find_model(str(folder))
    assert files.tokenizers == {"tokenizer": "text_encoder", "tokenizer_2": "text_encoder_2"}
    model = load_model(files)
    assert model.tokenizer_3 is model.text_encoder_3 is None
    assert list(model.text_encoders) == ["text_encoder", "text_encoder_2"]


@pytest.mark.parametrize(
    "name",
    [
        "stabilityai/stable-diffusion-3.5-large-turbo",
        "StabilityAI/Stable-Diffusion-3.5-Large-Turbo",
        "tensorart/stable-diffusion-3.5-medium-turbo",
    ],
)
def test_distilled_models_of_the_hub_are_refused(name: str) -> None:
    with pytest.raises(
        UserError, match=r"few-step distilled.*scan the model that it was distilled"
    ):
        refuse_configuration(name, StableDiffusion3, {}, FLOW)
    refuse_configuration("stabilityai/stable-diffusion-3.5-large", StableDiffusion3, {}, FLOW)
