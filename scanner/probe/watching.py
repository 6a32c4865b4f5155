"""Watch a denoiser's attention to the text during its forwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from scanner.errors import UserError
from scanner.probe.attention import Attend, RecordingAttnProcessor, extras, plain_attention
from scanner.probe.attention_record import AttentionRecord
from scanner.probe.joint_attention import (
    JointAttend,
    cpu_joint_attention,
    cuda_joint_attention,
    plain_joint_attention,
)
from scanner.probe.joint_kinds import is_joint, kind_of


@contextmanager
def watch_attention(
    denoiser: torch.nn.Module,
    layers: list[str],
    map_layers: tuple[int, ...] = (),
    attend: Attend | JointAttend | None = None,
) -> Iterator[AttentionRecord]:
    """Record the attention of every forward within this context.

    ``layers``: names of the attention modules in run order. ``map_layers``: numbers of layers that
    also keep the map of ``record.position_B``. ``attend``: of :func:`choose_attend`. Each forward
    replaces the previous record. The denoiser's own processors are restored on exit, also after an
    exception. Raises UserError for attention whose probabilities would differ.
    """
    modules = [denoiser.get_submodule(name) for name in layers]
    before = [module.processor for module in modules]
    record = AttentionRecord(len(layers))
    record_attention(denoiser, layers, record, map_layers, attend)
    try:
        yield record
    finally:
        for module, processor in zip(modules, before, strict=True):
            module.set_processor(processor)


def record_attention(
    denoiser: torch.nn.Module,
    layers: list[str],
    record: AttentionRecord,
    map_layers: tuple[int, ...] = (),
    attend: Attend | JointAttend | None = None,
    last: int | None = None,
    repeats: int = 1,
) -> None:
    """Replace the processors of the layers by recording ones, permanently.

    ``last``: number of a layer whose output is unused. ``repeats``: with joint attention, how many
    equal text positions the last one stands for. Raises UserError as watch_attention does.
    """
    modules = [denoiser.get_submodule(name) for name in layers]
    for name, attn in zip(layers, modules, strict=True):
        _check(name, attn)
    for number, attn in enumerate(modules):
        keeps_map, is_last = number in map_layers, number == last
        if is_joint(attn):
            joint = cast(JointAttend, attend or default_joint_attention(attn))
            kind = kind_of(attn)
            assert kind, "a checked processor"
            attn.set_processor(kind(record, number, joint, keeps_map, is_last, repeats))
        else:
            cross = cast(Attend, attend or plain_attention)
            attn.set_processor(RecordingAttnProcessor(record, number, cross, keeps_map, is_last))


def default_joint_attention(attn: Any) -> JointAttend:
    """Return the fused attention of a module's device, unchecked; on the meta device CUDA's, of
    which FLOPs are counted."""
    kernels = {
        "cpu": cpu_joint_attention,
        "cuda": cuda_joint_attention,
        "meta": cuda_joint_attention,
    }
    return kernels.get(attn.to_q.weight.device.type, plain_joint_attention)


def _check(name: str, attn: Any) -> None:
    if is_joint(attn):
        if not kind_of(attn):
            other = type(attn.processor).__name__
            raise UserError(
                f"joint attention {name} has a {other}, which recording would replace: unload it, "
                "or leave the context that installed it"
            )
        return
    unsupported = extras(attn)
    if unsupported:
        raise UserError(
            f"cross-attention {name} has {', '.join(unsupported)}, which is not supported: "
            "use a model with plain cross-attention"
        )
