"""Check that the parts of a model match each other, from their configurations."""

from typing import Any

from transformers import CLIPTextConfig, PretrainedConfig

from scanner.models.files.model_files import ModelFiles
from scanner.models.files.names import model_error
from scanner.models.files.opening import opening
from scanner.models.fitting_transformer import ONE_MODEL, refuse_text
from scanner.models.parts import ATTENTION
from scanner.models.tokenizers import refuse_other_tokenizer
from scanner.models.tokens import is_clip
from scanner.models.unet_model import UNetModel
from scanner.plurals import pluralize


def refuse_misfit(files: ModelFiles) -> None:
    """Raise UserError if a part's configuration is missing, damaged or from another model."""
    part = files.family.denoiser_part
    denoiser, vae = files.config(part), files.config("vae")
    texts = {name: _text_config(files, name) for name in files.parts if name != part}
    with opening(files.title, f"{part}/config.json"):
        if issubclass(files.family, UNetModel):
            widths = {name: text.hidden_size for name, text in texts.items()}
            _refuse_width(files.title, denoiser, widths)
            _refuse_pooled(files.title, denoiser, texts)
        else:
            refuse_text(files.title, files.family, denoiser, texts)
    latents = vae.get("latent_channels", vae.get("z_dim", 4))
    channels, packed = denoiser.get("in_channels", 4), files.family.packing**2
    if channels != packed * latents:
        raise model_error(
            files.title,
            f"{part}/config.json: in_channels {channels}, but the latents of vae/config.json have "
            f"{latents} channels{f', times {packed} pixels per token' * (packed > 1)}; {ONE_MODEL}",
        )
    _ = files.noise_process  # raises for an invalid configuration
    _refuse_tokenizers(files, texts)


def _refuse_tokenizers(files: ModelFiles, texts: dict[str, PretrainedConfig]) -> None:
    """Raise UserError for a tokenizer of another model than its encoder's, and for CLIP tokenizers
    of different lengths, since their encoders' hidden states are concatenated."""
    lengths = {}
    for name, encoder in files.tokenizers.items():
        tokenizer = files.opened_tokenizers[name]
        refuse_other_tokenizer(files.title, tokenizer, name, encoder, texts[encoder])
        if is_clip([files.parts[encoder]]):  # others read a fixed number of positions
            lengths[name] = tokenizer.model_max_length
    if len(set(lengths.values())) > 1:
        read = " and ".join(f"{name} {length}" for name, length in lengths.items())
        raise model_error(
            files.title,
            f"model_max_length differs ({read}), but both texts are concatenated; {ONE_MODEL}",
        )


def _text_config(files: ModelFiles, part: str) -> PretrainedConfig:
    file = f"{part}/config.json"
    if named := _named_attention(files.config(part)):
        raise model_error(
            files.title,
            f"{file}: attention implementation {named}, which can be remote code; remove the entry",
        )
    with opening(files.title, file):
        kind = CLIPTextConfig if is_clip([files.parts[part]]) else files.parts[part].config_class
        config: PretrainedConfig = kind.from_pretrained(
            files.folder / part, local_files_only=True, trust_remote_code=False
        )
        return config.get_text_config()


def _named_attention(value: Any) -> str:
    """Return the attention implementation that a configuration names; "" for PyTorch's."""
    if not isinstance(value, dict):
        return ""
    for key, inner in value.items():
        found = str(inner) if key.strip("_") == "attn_implementation" else _named_attention(inner)
        if found not in ("", "None", "eager", ATTENTION):
            return found
    return ""


def _refuse_width(name: str, unet: dict[str, Any], widths: dict[str, int]) -> None:
    if unet.get("encoder_hid_dim") is not None:
        return  # it projects the text to its own width
    width = unet.get("cross_attention_dim", 1280)
    expected = set(width) if isinstance(width, list) else {width}
    if expected != {sum(widths.values())}:
        texts = " and ".join(f"{part} gives {width}" for part, width in widths.items())
        raise model_error(
            name,
            f"unet/config.json: cross_attention_dim {width}, but {texts} (hidden_size); "
            f"{ONE_MODEL}",
        )


def _refuse_pooled(name: str, unet: dict[str, Any], texts: dict[str, CLIPTextConfig]) -> None:
    """Raise UserError for mismatched pooled-text and size conditioning (SDXL)."""
    kind = unet.get("addition_embed_type")
    second = texts.get("text_encoder_2")
    if kind not in (None, "text_time") or (kind is None) != (second is None):
        raise model_error(
            name,
            f"unet/config.json: addition_embed_type {kind} is not that of a U-Net with "
            f"{pluralize(len(texts), 'text encoder')}; {ONE_MODEL}",
        )
    if second is not None:
        expected = unet["projection_class_embeddings_input_dim"]
        given = 6 * unet["addition_time_embed_dim"] + second.projection_dim
        if expected != given:
            raise model_error(
                name,
                f"unet/config.json: projection_class_embeddings_input_dim {expected}, but "
                f"text_encoder_2 and six sizes give {given}; {ONE_MODEL}",
            )
