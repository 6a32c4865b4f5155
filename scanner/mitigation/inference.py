"""Mitigate memorization during generation: Ren et al. (ECCV 2024), or another method.

Ren et al.: for memorized captions, cross-attention concentrates on a few tokens of the prompt and
its padding. Two edits reduce that: positions after the EOS token are masked, and the BOS token's
logit is scaled. Hooks apply both around a cross-attention, not inside it, so any attention
processor still works, including fused kernels. Joint attention gets another processor, with a fused
kernel (:mod:`scanner.mitigation.joint_attention`): there the edits are of the image's queries only.
The other methods are in :mod:`scanner.mitigation.methods`.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from typing import Any

import torch

from scanner.errors import UsageError, UserError
from scanner.mitigation.edit import AttentionEdit, padding_bias, scale_bos
from scanner.mitigation.generation import MitigationRecord
from scanner.mitigation.intervention import intervene
from scanner.mitigation.methods import METHODS, make_method
from scanner.mitigation.noise_norm_threshold import NoiseNormThreshold, calibrated_threshold
from scanner.mitigation.prompt_hook import PromptRows
from scanner.mitigation.steering import steer

REN = "ren"
"""The method of Ren et al., which edits attention; METHODS has the others."""
BOS_SCALE = 1.25
"""The published factor on the BOS token's logit."""
DEFAULT_METHOD = "embedding"
"""Of the methods that stop copies on both testbeds at their published settings, the one that
changes other captions' images least (scanner/mitigation/README.md)."""


@contextmanager
def mitigate(
    pipe: Any,
    method: str = DEFAULT_METHOD,
    *,
    bos_scale: float | None = None,
    mask_padding: bool | None = None,
    steps: Collection[int] | None = None,
    layers: Collection[int] | None = None,
    token_counts: Sequence[int] | None = None,
    threshold: float | None = None,
    calibration: str | None = None,
    **settings: float,
) -> Iterator[MitigationRecord]:
    """Reduce memorization in what the pipeline generates within this context.

    ``pipe``: a diffusers pipeline of Stable Diffusion 1, 2, 3 or XL. ``method``: one of
    :data:`scanner.mitigation.methods.METHODS`, with ``settings`` by name, or ``"ren"``. The default
    optimizes the caption's embedding, at most the operations of 20.5 further steps with Stable
    Diffusion 1.4.

    Settings of ``"ren"``: ``bos_scale``, factor on the BOS token's logit in rows with a caption
    (default 1.25; 1: no change); ``mask_padding``, mask the positions after the EOS token (default
    True), in both halves of the guidance batch (of Stable Diffusion 3, those after each text
    encoder's EOS token, and the zeros that stand for T5 without it); ``steps`` to edit, counting
    from 0, and ``layers``, in execution order (by default all); ``token_counts``, for a pipeline
    called with embeddings: number of tokens per caption, including BOS and EOS.

    ``threshold``: mitigate only captions whose noise norm ‖ε_c − ε_∅‖ (of flow-matching models
    ‖v_c − v_∅‖) at the first step is at least this. The norm comes from that step's regular
    forward, which is repeated only if a caption is flagged; a batch without flagged captions is
    bit-identical to one without mitigation. ``calibration``: take the threshold from this
    calibration file: of noise_norm_low or velocity_norm_mid, which takes one more forward per
    generation, else of noise_norm_first. Generations must then have the size of its scan, and with
    noise_norm_first of a U-Net also its steps.

    Yields a :class:`MitigationRecord` of what was changed. Installs no hooks if both edits of
    ``"ren"`` are off. Restores the pipeline on exit. Raises UserError for pipelines, calls and
    calibrations that are not supported.

    >>> import diffusers, torch
    >>> from scanner import mitigate
    >>> from scanner.testbed.files import MODEL
    >>> pipe = diffusers.StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)
    >>> with mitigate(pipe):
    ...     images = pipe("a red fox on a hill", num_inference_steps=2).images
    >>> len(images)
    1
    """
    norm_threshold = _norm_threshold(threshold, calibration)
    ren = RenSettings(bos_scale, mask_padding, steps, layers, token_counts)
    if method == REN:
        context = _edited(pipe, ren, settings, norm_threshold)
    else:
        ren.refuse(method)
        context = _steered(pipe, method, settings, norm_threshold)
    with context as record:
        yield record


@dataclass(frozen=True)
class RenSettings:
    """The arguments of :func:`mitigate` for ``"ren"``; None: the default."""

    bos_scale: float | None
    mask_padding: bool | None
    steps: Collection[int] | None
    layers: Collection[int] | None
    token_counts: Sequence[int] | None

    def refuse(self, method: str) -> None:
        """Raise UsageError if one is given, for another method."""
        for field in fields(self):
            if getattr(self, field.name) is not None:
                raise UsageError(
                    f"mitigation: {field.name} is a setting of method 'ren', not of {method!r}; "
                    "add method='ren', or drop it"
                )


def _edited(
    pipe: Any, ren: RenSettings, settings: dict[str, float], threshold: NoiseNormThreshold | None
) -> AbstractContextManager[MitigationRecord]:
    if settings:
        raise UsageError(f"mitigation: {min(settings)!r} is not a setting of 'ren'")
    bos_scale = BOS_SCALE if ren.bos_scale is None else ren.bos_scale
    build = _edit(bos_scale, ren.mask_padding is not False, ren.token_counts)
    if build is None:
        return nullcontext(MitigationRecord())
    return intervene(pipe, build, steps=ren.steps, layers=ren.layers, threshold=threshold)


def _edit(
    bos_scale: float, mask_padding: bool, token_counts: Sequence[int] | None
) -> Callable[[PromptRows], AttentionEdit] | None:
    """Return what makes the edit of Ren et al. for a batch; None if both parts are off."""
    if not bos_scale > 0:
        raise UsageError(f"bos_scale {bos_scale}: must be positive; 1 changes nothing")
    if bos_scale == 1 and not mask_padding:
        return None
    key = None if bos_scale == 1 else functools.partial(scale_bos, factor=bos_scale)

    def build(rows: PromptRows) -> AttentionEdit:
        bias_NL = _hide_padding(rows, token_counts) if mask_padding else None
        return AttentionEdit(rows.count, bias_NL, bias_NL, key)

    return build


def _steered(
    pipe: Any, name: str, settings: dict[str, float], threshold: NoiseNormThreshold | None
) -> AbstractContextManager[MitigationRecord]:
    if name not in METHODS:
        names = ", ".join((REN, *METHODS))
        raise UsageError(f"mitigation: no method {name!r}; choose one of {names}")
    return steer(pipe, make_method(name, settings), threshold)


def _norm_threshold(value: float | None, calibration: str | None) -> NoiseNormThreshold | None:
    if value is not None and calibration is not None:
        raise UsageError("mitigation: give a threshold or a calibration, not both")
    if calibration is not None:
        return calibrated_threshold(calibration)
    return None if value is None else NoiseNormThreshold(value)


def _hide_padding(rows: PromptRows, token_counts: Sequence[int] | None) -> torch.Tensor:
    bias_NL = padding_bias(_count_tokens(rows, token_counts), rows.length)
    return bias_NL.masked_fill(_read_by_t5(rows), 0.0) if rows.has_t5 else bias_NL


def _read_by_t5(rows: PromptRows) -> torch.Tensor:
    if rows.of_t5_NL is None:
        raise UserError(
            "mitigation: the pipeline was given embeddings, so T5's padding is unknown; pass "
            "prompts, or mitigate(…, mask_padding=False)"
        )
    return rows.of_t5_NL


def _count_tokens(rows: PromptRows, token_counts: Sequence[int] | None) -> torch.Tensor:
    if rows.n_N is not None:
        return rows.n_N
    if token_counts is None:
        raise UserError(
            "mitigation: the pipeline was given embeddings, so the padding is unknown; pass "
            "mitigate(…, token_counts=[…]), the number of tokens per caption including BOS and "
            "EOS, or mask_padding=False"
        )
    if len(token_counts) * rows.images != rows.count:
        raise UserError(
            f"mitigation: token_counts has {len(token_counts)} entries, but the pipeline was given "
            f"{rows.count // rows.images} captions; pass one per caption"
        )
    return torch.tensor(token_counts).repeat_interleave(rows.images)
