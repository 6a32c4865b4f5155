"""Operations and time that mitigation adds to Stable Diffusion 1.4's full-size U-Net."""

import functools
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from scanner.mitigation.inference import REN, mitigate
from scanner.models.random.random_weights import stable_diffusion_14, unet_14
from scanner.testbed.files import MODEL

log = logging.getLogger("memscan")

CAPTIONS = ("a red fox on a hill", "the quick brown fox, twice: the quick brown fox " * 9)
LATENT = 32  # 256 px
DRAWS = 2000


class _ElementCount(TorchDispatchMode):
    """Count one operation per output element of every operator, including copies and views."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.total += sum(one.numel() for one in tree_leaves(output) if torch.is_tensor(one))
        return output


def added_operations(captions: Sequence[str] = CAPTIONS) -> float:
    """Return the relative increase of a guided forward's operations with both parts of mitigation.

    Counted on the meta device, since on the CPU the FLOP counter counts fused attention as zero:
    products by the FLOP counter, plus one operation per output element of every operator. Counting
    views makes this an upper bound. Negative if hiding the padding saves more than it costs.
    """
    pipe = _meta_pipeline()
    with torch.device("meta"):
        forward = _forward(pipe, captions, torch.empty(2 * len(captions), 4, LATENT, LATENT))
    plain = _operations(forward)
    with mitigate(pipe, REN):
        _encode(pipe, captions)
        return _operations(forward) / plain - 1


def _operations(run: Callable[[], object]) -> int:
    with _ElementCount() as elements, FlopCounterMode(display=False) as products:
        run()
    return products.get_total_flops() + elements.total


def time_ratio(rounds: int) -> dict[str, Any]:
    """Time guided forwards at 256 px with and without mitigation, alternating, on random weights.

    time_ratio: median over ``rounds`` pairs of the ratio within a pair; time_ratio_upper_95: its
    upper bootstrap bound over the pairs; identical_when_off: whether the output with both parts
    disabled equals the plain output bit for bit.
    """
    model = stable_diffusion_14()
    pipe = _pipeline(model.unet)
    shape = (2, 4, LATENT, LATENT)
    latents = torch.randn(shape, generator=torch.manual_seed(0)).to(model.device, model.dtype)
    captions = CAPTIONS[:1]
    forward = torch.inference_mode()(_forward(pipe, captions, latents))
    plain = forward()[0]
    with mitigate(pipe, REN, bos_scale=1, mask_padding=False):
        _encode(pipe, captions)
        identical = torch.equal(forward()[0], plain)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(-1, rounds):  # the first round is a warm-up
        for on in (False, True) if number % 2 else (True, False):
            context: AbstractContextManager[object] = mitigate(pipe, REN) if on else nullcontext()
            with context:
                _encode(pipe, captions)
                began = time.perf_counter()
                forward()
                if model.device.type == "cuda":
                    torch.cuda.synchronize()
                if number >= 0:
                    seconds[on].append(time.perf_counter() - began)
        log.info(f"time: pair {number + 1} of {rounds}")
    ratios = np.array(seconds[True]) / np.array(seconds[False])
    drawn = np.random.default_rng(0).choice(ratios, (DRAWS, len(ratios)))
    return {
        "pairs": rounds,
        "seconds_plain": float(np.median(seconds[False])),
        "identical_when_off": identical,
        "time_ratio": float(np.median(ratios)),
        "time_ratio_upper_95": float(np.quantile(np.median(drawn, axis=1), 0.95)),
    }


@functools.cache
def _meta_pipeline() -> Any:
    with torch.device("meta"):
        unet = unet_14()
    return _pipeline(unet)


def _pipeline(unet: UNet2DConditionModel) -> Any:
    """Return a pipeline of the testbed's tokenizer and text encoder with another U-Net."""
    pipe = StableDiffusionPipeline.from_pretrained(
        MODEL,
        unet=None,
        vae=None,
        safety_checker=None,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    pipe.unet = unet
    return pipe


def _encode(pipe: Any, captions: Sequence[str]) -> None:
    """Encode captions, from which mitigation learns their lengths; the embeddings are unused."""
    with torch.no_grad():
        pipe.encode_prompt(list(captions), "cpu", 1, True)


def _forward(pipe: Any, captions: Sequence[str], x_RCHW: Tensor) -> Callable[[], Any]:
    width = pipe.unet.config.cross_attention_dim
    text_RLC = torch.randn(len(x_RCHW), 77, width, device=x_RCHW.device, dtype=x_RCHW.dtype)
    return lambda: pipe.unet(x_RCHW, 981, text_RLC, return_dict=False)
