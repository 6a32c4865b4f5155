"""The kinds of joint attention that are recorded."""

from typing import Any

from diffusers.models.transformers.transformer_flux import FluxAttention

from scanner.probe.joint_processors import (
    RecordingAuraFlowAttnProcessor,
    RecordingFluxAttnProcessor,
    RecordingJointAttnProcessor,
    RecordingQwenAttnProcessor,
    RecordingSD3AttnProcessor,
)
from scanner.probe.one_sequence_processors import (
    RecordingCogView4AttnProcessor,
    RecordingOneSequenceAttnProcessor,
)

_RECORDING: dict[str, type[RecordingJointAttnProcessor]] = {
    "JointAttnProcessor2_0": RecordingSD3AttnProcessor,
    "FusedJointAttnProcessor2_0": RecordingSD3AttnProcessor,
    "FluxAttnProcessor": RecordingFluxAttnProcessor,
    "QwenDoubleStreamAttnProcessor2_0": RecordingQwenAttnProcessor,
    "AuraFlowAttnProcessor2_0": RecordingAuraFlowAttnProcessor,
    "CogView4TrainingAttnProcessor": RecordingCogView4AttnProcessor,
    "Lumina2AttnProcessor2_0": RecordingOneSequenceAttnProcessor,
    "ZSingleStreamAttnProcessor": RecordingOneSequenceAttnProcessor,
}
"""By the class of the stock processor, the one that records and computes the same."""


def is_joint(attn: Any) -> bool:
    """Return whether an attention module attends over image and text."""
    if isinstance(attn, FluxAttention):
        return True
    has_two_streams = attn.added_kv_proj_dim is not None and not attn.only_cross_attention
    return bool(has_two_streams or not attn.is_cross_attention)


def kind_of(attn: Any) -> type[RecordingJointAttnProcessor] | None:
    """Return the recording processor of a joint attention; None for one with another processor,
    which recording would replace."""
    stock = type(attn.processor)
    if issubclass(stock, RecordingJointAttnProcessor):
        return stock
    return _RECORDING.get(stock.__name__)
