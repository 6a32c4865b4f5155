"""The families that can be scored, by the class of their pipeline, and why others cannot."""

from typing import Any

from scanner.models.diffusion_model import DiffusionModel
from scanner.models.opening import model_error
from scanner.models.sdxl import StableDiffusionXL
from scanner.models.stable_diffusion import StableDiffusion

FAMILIES: dict[str, type[DiffusionModel]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
}
_JOINT = "its text and picture tokens attend jointly, which is not measured yet"
_REASONS = {
    "Inpaint": "an inpainting model is also given a masked picture",
    "Pix2Pix": "an image-editing model is also given a picture",
    "Upscale": "an upscaling model is also given a picture",
    "LatentConsistency": "a model distilled to a few steps does not predict noise",
    "StableDiffusion3": _JOINT,
    "Flux": _JOINT,
    "AuraFlow": _JOINT,
    "QwenImage": _JOINT,
}
_LIBRARIES = ("diffusers", "transformers")
_DISTILLED_SCHEDULERS = ("LCMScheduler", "TCDScheduler")


def refuse_pipeline(name: str, index: dict[str, Any]) -> None:
    """Raises UserError for a model_index.json whose pipeline cannot be scored."""
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str):
        what = "no _class_name in it" if pipeline is None else f"_class_name is {pipeline}"
        raise model_error(
            name, f"model_index.json: {what}, which names the pipeline's class; {supported()}"
        )
    if pipeline.startswith("StableDiffusionXL") and not _named(index, "text_encoder"):
        raise model_error(
            name,
            "an SDXL refiner (it has no first text encoder) cannot be scanned: it never sees the "
            "noisiest steps; scan its base model",
        )
    if pipeline not in FAMILIES:
        why = next((f": {why}" for part, why in _REASONS.items() if part in pipeline), "")
        raise model_error(name, f"a {pipeline} cannot be scanned{why}; {supported()}")
    for part, kind in FAMILIES[pipeline].parts.items():
        found = _named(index, part)
        if found != kind.__name__:
            raise model_error(
                name,
                f"model_index.json: {part} is {found or 'not named in it'}; a {pipeline} is "
                f"scanned with a {kind.__name__}, and code of other modules is not run",
            )


def _named(index: dict[str, Any], part: str) -> str:
    """The class of a part, with its module unless that is the library that has such parts."""
    entry = index.get(part)
    if not isinstance(entry, list) or len(entry) != 2 or not all(entry):
        return ""
    module, kind = map(str, entry)
    return kind if module in _LIBRARIES else f"{module}.{kind}"


def supported() -> str:
    """What can be scanned, for an error."""
    return (
        f"supported are {', '.join(FAMILIES)} (Stable Diffusion 1 and 2, and SDXL), as diffusers "
        "directories or single .safetensors files"
    )


def refuse_configuration(name: str, unet: dict[str, Any], scheduler: dict[str, Any]) -> None:
    """Raises UserError for a U-Net or noise levels whose scores would mean something else.

    A model distilled to a few steps is told by a U-Net with a guidance embedding (LCM), by the
    schedulers that only such models use, and by the scheduler of SDXL-Turbo. Weights that were
    distilled but are saved with an ordinary scheduler (SDXL-Lightning, Hyper-SD, SD-Turbo, and
    merges with them) leave no reliable mark, and are not told.
    """
    taken, given = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if taken != given:
        raise model_error(
            name,
            f"an inpainting or image-editing U-Net cannot be scanned: it takes {taken} channels, "
            "and so more than a noisy picture",
        )
    kind = str(scheduler.get("_class_name"))
    ancestral = "EulerAncestral" in kind and scheduler.get("timestep_spacing") == "trailing"
    if unet.get("time_cond_proj_dim") is not None:
        refuse_distilled(name, "its U-Net takes the guidance as an input, time_cond_proj_dim")
    if kind in _DISTILLED_SCHEDULERS or ancestral:
        spacing = " with trailing timesteps" if ancestral else ""
        refuse_distilled(name, f"it comes with the {kind}{spacing} that such models use")
    if "beta_start" not in scheduler and not scheduler.get("trained_betas"):
        raise model_error(
            name,
            f"a model of the {kind} cannot be scanned: its noise levels are not those of a DDPM "
            "(scheduler_config.json has no beta_start)",
        )
    if scheduler.get("prediction_type", "epsilon") not in ("epsilon", "v_prediction"):
        raise model_error(
            name,
            f"prediction type {scheduler['prediction_type']} is not supported; epsilon and "
            "v_prediction are",
        )


def refuse_distilled(name: str, mark: str) -> None:
    """Raises UserError for a model that generates in a few steps, with what told it."""
    raise model_error(
        name,
        f"a model distilled to a few steps cannot be scanned ({mark}): at the first step it "
        "predicts a finished picture and not the noise, so its scores would mean something else; "
        "scan the model that it was distilled from",
    )
