"""Check that a transformer's configuration matches its text encoders'."""

from inspect import signature
from typing import Any

from transformers import PretrainedConfig

from scanner.models.diffusion_model import DiffusionModel
from scanner.models.families.stable_diffusion_3 import StableDiffusion3
from scanner.models.files.names import model_error
from scanner.models.tokens import is_clip

ONE_MODEL = "use parts of the same model, or save it again"
_WIDTHS = ("joint_attention_dim", "caption_channels", "text_embed_dim", "cap_feat_dim")
"""Entries with the width of the text that a transformer takes."""


def refuse_text(
    name: str,
    family: type[DiffusionModel],
    transformer: dict[str, Any],
    texts: dict[str, PretrainedConfig],
) -> None:
    """Raise UserError if the text encoders are not those of a transformer.

    The text is the hidden states of the one encoder that is not CLIP's; in Stable Diffusion 3, both
    CLIP encoders' hidden states, concatenated and padded with zeros to the same width, precede it.
    CLIP's projected or pooled texts are concatenated to the pooled text.
    """
    clip = {part: text for part, text in texts.items() if is_clip([family.parts[part]])}
    other = {part: text for part, text in texts.items() if part not in clip}
    defaults = signature(family.parts[family.denoiser_part]).parameters
    entry = next(one for one in _WIDTHS if one in defaults)
    width = transformer.get(entry, defaults[entry].default)
    joined = clip if issubclass(family, StableDiffusion3) else {}
    given = sum(text.hidden_size for text in joined.values())
    if given > width or any(text.hidden_size != width for text in other.values()):
        said = [f"{' and '.join(joined)} give {given}"] if joined else []
        said += [f"{part} gives {text.hidden_size}" for part, text in other.items()]
        raise model_error(
            name,
            f"transformer/config.json: {entry} {width}, but {' and '.join(said)} (hidden sizes); "
            f"{ONE_MODEL}",
        )
    if clip:
        _refuse_pooled(name, transformer, clip, projected=bool(joined))


def _refuse_pooled(
    name: str, transformer: dict[str, Any], clip: dict[str, PretrainedConfig], projected: bool
) -> None:
    """``projected``: whether the pooled text is CLIP's projection, not its hidden state."""
    entry = "projection_dim" if projected else "hidden_size"
    expected = transformer.get("pooled_projection_dim", 2048 if projected else 768)
    pooled = sum(getattr(text, entry) for text in clip.values())
    if expected != pooled:
        raise model_error(
            name,
            f"transformer/config.json: pooled_projection_dim {expected}, but {' and '.join(clip)} "
            f"give {pooled} ({entry}); {ONE_MODEL}",
        )
