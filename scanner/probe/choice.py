"""Choose the attention for a device: a fused kernel if it matches the plain computation."""

import math
import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from scanner.probe.attention import Attend, plain_attention
from scanner.probe.joint_attention import (
    Attended,
    JointAttend,
    cpu_joint_attention,
    cuda_joint_attention,
    plain_joint_attention,
)
from scanner.probe.joint_kinds import is_joint
from scanner.probe.watching import default_joint_attention

TEXT = 77
POSITIONS = (64, 100, 576)
OUTPUT_TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
ABAR_TOLERANCE = 1e-5
JOINT_TOKENS = (141, 600)
LSE_TOLERANCE = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def choose_attend(
    denoiser: nn.Module, layers: list[str], device: str | None = None
) -> Attend | JointAttend:
    """Return the attention for a denoiser's kind of attention and device.

    ``device``: the kind of device that a denoiser on the meta device stands for. There, the
    attention allocates what it allocates on that device.
    """
    modules = [denoiser.get_submodule(name) for name in layers]
    weight = next(denoiser.parameters())
    place = denoiser.device  # where it runs, also if its weights are offloaded
    if is_joint(modules[0]):
        if weight.is_meta:
            return default_joint_attention(modules[0])
        return _joint(place, weight.dtype, modules)
    if weight.is_meta:
        return _kernel() if _is_fused(device, weight.dtype) else plain_attention
    return _cross(place, weight.dtype, modules)


def _cross(place: torch.device, dtype: torch.dtype, modules: list[nn.Module]) -> Attend:
    """Return the fused attention for half precision on CUDA, otherwise the plain one.

    First compares the kernel with the plain computation, at the U-Net's dtype and head sizes. If it
    fails or differs, warns and returns the plain one. In float32 the kernel is correct but slow: on
    an H200 it takes 36 ms where the plain computation takes 1.2 ms (32 captions, 4,096 positions,
    8 heads of 40 channels), since its products do not use tensor cores.
    """
    if not _is_fused(place.type, dtype):
        return plain_attention
    attend = _kernel()
    if attend is plain_attention:
        return attend
    heads = {(attn.heads, attn.to_q.out_features // attn.heads) for attn in modules}
    return checked(attend, sorted(heads), place, dtype)


def _is_fused(device: str | None, dtype: torch.dtype) -> bool:
    return device == "cuda" and dtype != torch.float32


def _kernel() -> Attend:
    try:
        from scanner.probe.fused import fused_attention
    except ImportError as error:
        return _fall_back(f"Triton cannot be imported ({error})")
    return fused_attention


def _joint(place: torch.device, dtype: torch.dtype, modules: list[nn.Module]) -> JointAttend:
    """Return the device's fused attention that gives the log-sum-exp, if it matches the plain
    one."""
    kernels = {"cpu": cpu_joint_attention, "cuda": cuda_joint_attention}
    if place.type not in kernels:
        return plain_joint_attention
    attn = modules[0]
    return checked_joint(
        kernels[place.type],
        (attn.heads, attn.to_q.out_features // attn.heads),
        place,
        dtype,
    )


def checked_joint(
    attend: JointAttend, heads: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> JointAttend:
    """Return ``attend`` where it matches the plain computation on a device, with and without masks;
    warn, and compute plainly, where it does not. ``heads``: their number, and channels per head."""
    problem, masked_problem = (
        _joint_problem(attend, heads, device, dtype, is_masked) for is_masked in (False, True)
    )
    if problem:
        _warn(problem)
        return plain_joint_attention
    if not masked_problem:
        return attend
    _warn(f"with a mask, {masked_problem}")

    def attend_unless_masked(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Attended:
        return (attend if bias is None else plain_joint_attention)(q, k, v, bias)

    return attend_unless_masked


def _joint_problem(
    attend: JointAttend,
    heads: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype,
    is_masked: bool,
) -> str:
    """Return how a kernel fails or differs from the plain computation; "" if it matches."""
    generator = torch.Generator("cpu").manual_seed(0)
    for tokens in JOINT_TOKENS:
        q, k, v = (
            torch.randn((2, heads[0], tokens, heads[1]), generator=generator).to(device, dtype)
            for _ in range(3)
        )
        bias = None
        if is_masked:
            bias = torch.zeros((2, tokens), device=device)
            bias[0, 5:40], bias[1, 20:40] = -math.inf, -math.inf
        try:
            actual = attend(q, k, v, bias)
        except Exception as error:  # a driver or the kernel: anything can fail
            return f"the kernel does not run ({type(error).__name__}: {error})"
        for what, one, other, tolerance in zip(
            ("output", "log-sum-exp"),
            actual,
            plain_joint_attention(q, k, v, bias),
            (OUTPUT_TOLERANCE[dtype], LSE_TOLERANCE[dtype]),
            strict=True,
        ):
            worst = float((one.float() - other.float()).abs().max())
            if not worst <= tolerance:
                return f"the kernel differs: {what} by {worst:.2g} for {tokens} tokens"
    return ""


def checked(
    attend: Attend, heads: Iterable[tuple[int, int]], device: torch.device, dtype: torch.dtype
) -> Attend:
    """Return ``attend`` if it matches the plain computation on a device; otherwise warn and return
    the plain computation.

    ``heads``: (number of heads, channels per head) of the layers.
    """
    generator = torch.Generator("cpu").manual_seed(0)

    def random(positions: int, count: int, width: int) -> Tensor:
        values = torch.randn((2, positions, count * width), generator=generator)
        return values.to(device, dtype).unflatten(-1, (count, width))

    for count, width in heads:
        for positions in POSITIONS:
            q, k, v = (random(length, count, width) for length in (positions, TEXT, TEXT))
            try:
                actual = attend(q, k, v, width**-0.5)
            except Exception as error:  # a compiler, a driver or the kernel: anything can fail
                return _fall_back(f"the kernel does not run ({type(error).__name__}: {error})")
            expected = plain_attention(q, k, v, width**-0.5)
            for what, one, other, tolerance in zip(
                ("output", "mean attention"),
                actual,
                expected,
                (OUTPUT_TOLERANCE[dtype], ABAR_TOLERANCE),
                strict=True,
            ):
                worst = float((one.float() - other.float()).abs().max())
                if not worst <= tolerance:
                    return _fall_back(
                        f"the kernel differs: {what} by {worst:.2g} with {width} channels "
                        f"per head and {positions} positions"
                    )
    return attend


def _fall_back(why: str) -> Attend:
    _warn(why)
    return plain_attention


def _warn(why: str) -> None:
    warnings.warn(f"attention runs unfused, which is slower: {why}", stacklevel=4)
