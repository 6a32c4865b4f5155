"""Mitigate memorization during generation (Ren et al., ECCV 2024).

For memorized captions, cross-attention concentrates on a few tokens of the prompt and its padding.
Two edits reduce that: positions after the EOS token are masked, and the BOS token's logit is
scaled. Hooks apply both around a cross-attention, not inside it, so any attention processor still
works, including fused kernels. Joint attention gets another processor, with a fused kernel
(:mod:`scanner.mitigation.joint_attention`): there the edits are of the image's queries only.
"""

import functools
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from scanner.errors import UsageError, UserError
from scanner.mitigation.edit import AttentionEdit, padding_bias, scale_bos
from scanner.mitigation.intervention import Intervention, intervene
from scanner.mitigation.noise_norm_threshold import NoiseNormThreshold, calibrated_threshold
from scanner.mitigation.prompt_hook import PromptRows


@contextmanager
def mitigate(
    pipe: Any,
    bos_scale: float = 1.25,
    mask_padding: bool = True,
    *,
    steps: Collection[int] | None = None,
    layers: Collection[int] | None = None,
    threshold: float | None = None,
    calibration: str | None = None,
    token_counts: Sequence[int] | None = None,
) -> Iterator[Intervention]:
    """Reduce memorization in what the pipeline generates within this context.

    ``pipe``: a diffusers pipeline of Stable Diffusion 1, 2, 3 or XL. ``bos_scale``: factor on the
    BOS token's logit, in rows with a caption (1: no change). ``mask_padding``: mask the positions
    after the EOS token, in both halves of the guidance batch; of Stable Diffusion 3, those after
    each text encoder's EOS token, and the zeros that stand for T5 without it. ``steps``: sampler
    steps to edit, counting from 0; ``layers``: attention layers to edit, in execution order; by
    default all.

    ``threshold``: edit only captions whose noise norm ‖ε_c − ε_∅‖ (of flow-matching models
    ‖v_c − v_∅‖) at the first step is at least this. The norm comes from that step's regular
    forward, which is repeated only if a caption is flagged; a batch without flagged captions is
    bit-identical to one without mitigation. ``calibration``: take the threshold from this
    calibration file: of noise_norm_low or velocity_norm_mid, which takes one more forward per
    generation, else of noise_norm_first. Generations must then have the size of its scan, and with
    noise_norm_first of a U-Net also its steps.
    ``token_counts``: for a pipeline called with embeddings: number of tokens per caption, including
    BOS and EOS.

    Yields an :class:`Intervention`, which records what was edited. Installs no hooks if both edits
    are off. Restores the pipeline on exit. Raises UserError for pipelines, calls and calibrations
    that are not supported.

    >>> import diffusers, torch
    >>> from scanner import mitigate
    >>> from scanner.testbed.files import MODEL
    >>> pipe = diffusers.StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)
    >>> with mitigate(pipe, bos_scale=3.0):
    ...     images = pipe("a red fox on a hill", num_inference_steps=2).images
    >>> len(images)
    1
    """
    if not bos_scale > 0:
        raise UsageError(f"bos_scale {bos_scale}: must be positive; 1 changes nothing")
    norm_threshold = _norm_threshold(threshold, calibration)
    if bos_scale == 1 and not mask_padding:
        yield Intervention(None, norm_threshold)
        return
    key = None if bos_scale == 1 else functools.partial(scale_bos, factor=bos_scale)

    def build(rows: PromptRows) -> AttentionEdit:
        bias_NL = None
        if mask_padding:
            bias_NL = _hide_padding(rows, token_counts)
        return AttentionEdit(rows.count, bias_NL, bias_NL, key)

    with intervene(pipe, build, steps=steps, layers=layers, threshold=norm_threshold) as record:
        yield record


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
