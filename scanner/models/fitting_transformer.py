"""Check that a transformer's configuration matches its text encoders'."""

from typing import Any

from transformers import PretrainedConfig

from scanner.models.opening import model_error

ONE_MODEL = "use parts of the same model, or save it again"
_T5 = "text_encoder_3"


def refuse_text(name: str, transformer: dict[str, Any], texts: dict[str, PretrainedConfig]) -> None:
    """Raise UserError if the text encoders are not those of Stable Diffusion 3's transformer.

    Both CLIP encoders' hidden states are concatenated and padded with zeros to the transformer's
    width, which is T5's; their projected texts are concatenated.
    """
    clip = {part: text for part, text in texts.items() if part != _T5}
    width = transformer.get("joint_attention_dim", 4096)
    given = sum(text.hidden_size for text in clip.values())
    if given > width or (_T5 in texts and texts[_T5].hidden_size != width):
        t5 = f" and {_T5} gives {texts[_T5].hidden_size}" if _T5 in texts else ""
        raise model_error(
            name,
            f"transformer/config.json: joint_attention_dim {width}, but {' and '.join(clip)} give "
            f"{given}{t5} (hidden sizes); {ONE_MODEL}",
        )
    expected = transformer.get("pooled_projection_dim", 2048)
    pooled = sum(text.projection_dim for text in clip.values())
    if expected != pooled:
        raise model_error(
            name,
            f"transformer/config.json: pooled_projection_dim {expected}, but {' and '.join(clip)} "
            f"give {pooled} (projection_dim); {ONE_MODEL}",
        )
