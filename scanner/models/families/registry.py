"""Supported model families by pipeline class, and the reasons why others are refused."""

from typing import Any

from scanner.models.diffusion_model import DiffusionModel
from scanner.models.families.aura_flow import AuraFlow
from scanner.models.families.cogview4 import CogView4
from scanner.models.families.flux import Chroma, Flux
from scanner.models.families.lumina2 import Lumina2
from scanner.models.families.pixart import PixArt, PixArtSigma
from scanner.models.families.qwen_image import QwenImage
from scanner.models.families.sana import Sana
from scanner.models.families.sdxl import StableDiffusionXL
from scanner.models.families.stable_diffusion import StableDiffusion
from scanner.models.families.stable_diffusion_3 import StableDiffusion3
from scanner.models.families.z_image import ZImage
from scanner.models.files.names import model_error
from scanner.models.unet_model import UNetModel

FAMILIES: dict[str, type[DiffusionModel]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "PixArtAlphaPipeline": PixArt,
    "PixArtSigmaPipeline": PixArtSigma,
    "FluxPipeline": Flux,
    "ChromaPipeline": Chroma,
    "SanaPipeline": Sana,
    "QwenImagePipeline": QwenImage,
    "AuraFlowPipeline": AuraFlow,
    "CogView4Pipeline": CogView4,
    "Lumina2Pipeline": Lumina2,
    "ZImagePipeline": ZImage,
}
_IMAGE = "it also takes an image"
_REASONS = {
    "Inpaint": "an inpainting model also takes a masked image",
    "Fill": "an inpainting model also takes a masked image",
    "Pix2Pix": "an image-editing model also takes an image",
    "Edit": "an image-editing model also takes an image",
    "Kontext": "an image-editing model also takes an image",
    "Layered": "an image-editing model also takes an image",
    "Omni": _IMAGE,
    "Img2Img": _IMAGE,
    "Control": _IMAGE,
    "Upscale": "an upscaling model also takes an image",
    "Refiner": "a refiner also takes an image",
    "LatentConsistency": "a model distilled to a few steps does not predict noise",
    "SanaSprint": "a model distilled to a few steps does not predict noise",
    "Video": "it generates videos",
    "Flux2": "recording lacks its single-stream blocks, which project attention and MLP at once",
    "HiDream": "its experts are chosen on the host, so that its forward cannot be counted or "
    "compiled, and its fourth text encoder is not part of the model's directory",
    "HunyuanImage": "its forward reorders each caption's text by the captions' masks",
    "Hunyuan": "recording lacks its cross-attention, which norms and rotates each head's queries",
    "Kandinsky5": "its transformer takes no mask of the text, so captions of different lengths "
    "cannot share a batch",
    "Kandinsky": "it has no adapter",
    "CogView3": "its noise levels are those of CogVideoX's schedulers",
    "Kolors": "its tokenizer does not say where in the caption a token is",
    "LuminaPipe": "its cross-attention is projected together with the attention of the image on "
    "itself, which recording does not do",
}
"""Why pipelines whose name has a part are not scanned; the first part counts."""
_LIBRARIES = ("diffusers", "transformers")
_DISTILLED = (
    "stabilityai/stable-diffusion-3.5-large-turbo",
    "tensorart/stable-diffusion-3.5-large-TurboX",
    "tensorart/stable-diffusion-3.5-medium-turbo",
    "tongyi-mai/z-image-turbo",
)
"""Distilled transformers on the hub, which leave no mark in their configuration."""
TURBO_SHIFT = 3.0
"""Of Z-Image-Turbo's scheduler; Z-Image's is 6."""
_OTHER_SIGMAS = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "invert_sigmas",
    "stochastic_sampling",
)
_DISTILLED_SCHEDULERS = ("LCMScheduler", "TCDScheduler")


def refuse_pipeline(name: str, index: dict[str, Any]) -> None:
    """Raise UserError for a model_index.json whose pipeline cannot be scored."""
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str):
        problem = "_class_name is missing" if pipeline is None else f"_class_name is {pipeline}"
        raise model_error(
            name, f"model_index.json: {problem}; it must name the pipeline class; {supported()}"
        )
    if pipeline.startswith("StableDiffusionXL") and not _named(index, "text_encoder"):
        raise model_error(
            name,
            "an SDXL refiner (it has no first text encoder) cannot be scanned, since it is not "
            "trained on the noisiest steps; scan its base model",
        )
    if pipeline not in FAMILIES:
        why = next((f": {why}" for part, why in _REASONS.items() if part in pipeline), "")
        raise model_error(name, f"a {pipeline} cannot be scanned{why}; {supported()}")
    for part, kind in FAMILIES[pipeline].parts.items():
        found = _named(index, part)
        if not found and part in FAMILIES[pipeline].optional:
            continue
        if found != kind.__name__:
            raise model_error(
                name,
                f"model_index.json: {part} is {found or 'missing'}; a {pipeline} is scanned with a "
                f"{kind.__name__}, and code from other modules is not run",
            )


def is_named(index: dict[str, Any], part: str) -> bool:
    """Return whether a model_index.json has a part; null entries mean that it does not."""
    return bool(_named(index, part))


def _named(index: dict[str, Any], part: str) -> str:
    """Return a part's class, with its module unless that is diffusers or transformers."""
    entry = index.get(part)
    if not isinstance(entry, list) or len(entry) != 2 or not all(entry):
        return ""
    module, kind = map(str, entry)
    return kind if module in _LIBRARIES else f"{module}.{kind}"


def supported() -> str:
    """Return the list of supported models, for an error."""
    return (
        f"supported are {', '.join(FAMILIES)} as diffusers directories, and of Stable Diffusion 1, "
        "2 and XL also single .safetensors files"
    )


def refuse_configuration(
    name: str, family: type[DiffusionModel], denoiser: dict[str, Any], scheduler: dict[str, Any]
) -> None:
    """Raise UserError for a denoiser or noise levels with which scores would mean something
    else."""
    if name.lower() in map(str.lower, _DISTILLED):  # as the hub compares them
        refuse_distilled(name, "it is published as one")
    if issubclass(family, UNetModel):
        _refuse_unet(name, denoiser, scheduler)
    elif issubclass(family, PixArt):
        _refuse_noise_levels(name, scheduler)
    else:
        _refuse_transformer(name, family, denoiser, scheduler)
        if issubclass(family, Flux) and not scheduler.get("use_dynamic_shifting"):
            refuse_distilled(name, "its scheduler has no dynamic shift, as that of FLUX.1-schnell")
        if issubclass(family, ZImage) and scheduler.get("shift") == TURBO_SHIFT:
            refuse_distilled(name, "its scheduler's shift is 3, as that of Z-Image-Turbo")


def _refuse_unet(name: str, unet: dict[str, Any], scheduler: dict[str, Any]) -> None:
    """Raise UserError for a U-Net for other inputs, a distilled one, or unknown noise levels.

    A few-step distilled model is recognized by a guidance embedding in its U-Net (LCM), by
    schedulers that only such models use, or by the scheduler of SDXL-Turbo. Distilled weights saved
    with an ordinary scheduler (SDXL-Lightning, Hyper-SD, SD-Turbo, and merges with them) leave no
    reliable mark and are not recognized.
    """
    taken, given = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if taken != given:
        raise model_error(
            name,
            f"an inpainting or image-editing U-Net cannot be scanned: it takes {taken} channels, "
            "more than the noisy latents",
        )
    kind = str(scheduler.get("_class_name"))
    ancestral = "EulerAncestral" in kind and scheduler.get("timestep_spacing") == "trailing"
    if unet.get("time_cond_proj_dim") is not None:
        refuse_distilled(name, "its U-Net takes the guidance scale as an input, time_cond_proj_dim")
    if kind in _DISTILLED_SCHEDULERS or ancestral:
        spacing = " with trailing timesteps" if ancestral else ""
        refuse_distilled(name, f"its scheduler is the {kind}{spacing} of such models")
    _refuse_noise_levels(name, scheduler)


def _refuse_noise_levels(name: str, scheduler: dict[str, Any]) -> None:
    """Raise UserError unless the noise levels and the prediction are those of a DDPM."""
    kind = str(scheduler.get("_class_name"))
    if "beta_start" not in scheduler and not scheduler.get("trained_betas"):
        raise model_error(
            name,
            f"a model with the {kind} cannot be scanned: it has no DDPM noise levels "
            "(scheduler_config.json has no beta_start)",
        )
    if scheduler.get("prediction_type", "epsilon") not in ("epsilon", "v_prediction"):
        raise model_error(
            name,
            f"prediction type {scheduler['prediction_type']} is not supported; epsilon and "
            "v_prediction are",
        )


def _refuse_transformer(
    name: str,
    family: type[DiffusionModel],
    transformer: dict[str, Any],
    scheduler: dict[str, Any],
) -> None:
    """Raise UserError unless the scheduler is of flow matching, with a schedule that is known, and
    the transformer predicts a velocity of the latents."""
    taken = transformer.get("in_channels", 16)
    given = transformer.get("out_channels") or taken
    if family is QwenImage:  # of a patch
        given *= transformer.get("patch_size", 2) ** 2
    if taken != given:
        raise model_error(
            name,
            f"transformer/config.json: out_channels {given}, but in_channels {taken}: it predicts "
            "no velocity of its latents; use a text-to-image model",
        )
    if family is Sana and transformer.get("guidance_embeds"):
        refuse_distilled(name, "its transformer takes the guidance scale as an input")
    kind = str(scheduler.get("_class_name"))
    of_solver = kind == "DPMSolverMultistepScheduler" and scheduler.get("use_flow_sigmas")
    if kind != "FlowMatchEulerDiscreteScheduler" and not (of_solver and family is Sana):
        raise model_error(
            name,
            f"a transformer with the {kind} cannot be scanned: its noise levels are taken from a "
            "FlowMatchEulerDiscreteScheduler",
        )
    for entry in _OTHER_SIGMAS:
        if scheduler.get(entry):
            raise model_error(
                name, f"scheduler_config.json: {entry} is not supported; set it to false"
            )


def refuse_distilled(name: str, mark: str) -> None:
    """Raise UserError for a few-step distilled model; ``mark``: how it was recognized."""
    raise model_error(
        name,
        f"a few-step distilled model cannot be scanned ({mark}): at the first step it predicts a "
        "finished image rather than the noise, so its scores would mean something else; scan the "
        "model that it was distilled from",
    )
