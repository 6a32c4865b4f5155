"""Mitigate memorization while a pipeline generates (Ren et al., ECCV 2024).

In a memorized caption attention stays on a few tokens of the prompt and its padding. Two changes
to cross-attention take it away: positions after the end token are hidden, and the beginning
token's logit is multiplied. Both are done by hooks around the attention, never inside it, so that
any attention processor, fused kernels among them, keeps serving.
"""

import functools
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from scanner.errors import UsageError, UserError
from scanner.mitigation.edit import AttentionEdit, padding_bias, scale_beginning
from scanner.mitigation.intervention import Intervention, intervene
from scanner.mitigation.limit import Limit, calibrated_limit
from scanner.mitigation.listening import Rows


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
    """Within this context the pipeline generates with less memorization.

    ``pipe``: a diffusers pipeline of Stable Diffusion 1 or 2, or SDXL. ``bos_scale``: what the
    beginning token's logit is multiplied by, on the rows with a caption (1: not at all);
    ``mask_padding``: hide what comes after the end token, in both halves of the guidance batch.
    ``steps``: the sampler's steps that are changed, counted from 0 as the U-Net runs; ``layers``:
    the cross-attentions, in the order in which they run; both all by default.

    ``threshold``: leave captions alone whose noise norm ‖ε_c − ε_∅‖ at the first step is below
    this. It is read from that step's own forward, which runs once more only if a caption is not
    below. A batch of which all are below comes out bit for bit as without mitigation.
    ``calibration``: take the threshold from this file of memscan calibrate, its noise_norm_first's;
    generations have to begin as that scan did (its steps and size).

    ``token_counts``: for a pipeline that is given embeddings, not captions: how many tokens each
    caption has, with its beginning and end token.

    Yields a record of what was done. With both parts off nothing is installed. On leaving, also by
    an exception, the pipeline is as it was. Raises UserError for what cannot be mitigated.

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
        raise UsageError(f"bos_scale {bos_scale}: has to be a positive number; 1 changes nothing")
    if threshold is not None and calibration is not None:
        raise UsageError("mitigation: give a threshold or a calibration, not both")
    limit = None if threshold is None else Limit(threshold)
    if calibration is not None:
        limit = calibrated_limit(calibration)
    if bos_scale == 1 and not mask_padding:
        yield Intervention(None, limit)
        return
    key = None if bos_scale == 1 else functools.partial(scale_beginning, factor=bos_scale)

    def build(rows: Rows) -> AttentionEdit:
        bias_NL = None
        if mask_padding:
            bias_NL = padding_bias(_counted(rows, token_counts), rows.length)
        return AttentionEdit(rows.count, bias_NL, bias_NL, key)

    with intervene(pipe, build, steps=steps, layers=layers, limit=limit) as record:
        yield record


def _counted(rows: Rows, token_counts: Sequence[int] | None) -> torch.Tensor:
    if rows.n_N is not None:
        return rows.n_N
    if token_counts is None:
        raise UserError(
            "mitigation: the pipeline was given embeddings, so what is padding cannot be told; "
            "give mitigate(…, token_counts=[…]), the tokens of each caption with its beginning "
            "and end token, or mask_padding=False"
        )
    if len(token_counts) * rows.images != rows.count:
        raise UserError(
            f"mitigation: token_counts has {len(token_counts)} numbers, and the pipeline was "
            f"given {rows.count // rows.images} captions; give one for each"
        )
    return torch.tensor(token_counts).repeat_interleave(rows.images)
