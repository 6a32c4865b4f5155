"""Count the memory of the tensors that a computation creates, also on the meta device."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from scanner.scoring.meta_results import MetaResults
from scanner.scoring.primitive_operations import PrimitiveOperations


def peak_bytes(compute: Callable[[], object], device: str) -> int:
    """Return the largest number of bytes of tensors that ``compute`` holds at a time on a kind of
    device, beyond those that exist before.

    On the meta device, fused attention counts as it does on a real one, where logits are never in
    memory. What kernels allocate inside, such as cuDNN's workspaces, is not counted.
    """
    with _FusedAttention(), _LiveTensors(device) as live:
        compute()
    return live.peak


class _LiveTensors(PrimitiveOperations):
    """Follows the storages that operations create on a kind of device, until they are freed."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.live = self.peak = 0
        self._known: set[int] = set()
        self._results = MetaResults()

    def run(self, call: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        key = self._results.key(call, args, kwargs) if self.device == "meta" else None
        result = self._results.repeat(key)
        if result is None:
            for given in tree_leaves((args, kwargs)):
                self._follow(given, 0)  # unknown ones are older than this context
            result = call(*args, **kwargs)
            if key is not None:
                self._results.remember(key, args, kwargs, result)
        for created in tree_leaves(result):
            self._follow(created, 1)
        return result

    def _follow(self, value: Any, counts: int) -> None:
        if not isinstance(value, Tensor) or value.device.type != self.device:
            return
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = counts * storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


class _FusedAttention(TorchFunctionMode):
    """Replaces attention on the meta device, which is otherwise computed with its logits."""

    def __torch_function__(
        self, call: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if call is scaled_dot_product_attention:
            query = args[0] if args else kwargs["query"]
            if query.is_meta and query.ndim == 4:
                return _fused(*args, **kwargs)
        return call(*args, **kwargs)


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        groups = query.shape[1] // key.shape[1]
        key, value = (one.repeat_interleave(groups, 1) for one in (key, value))
    options = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
    output: Tensor
    if attn_mask is None:
        attend = torch.ops.aten._scaled_dot_product_flash_attention
        output = attend(query, key, value, **options)[0]
        return output
    if attn_mask.dtype == torch.bool:
        nothing = torch.zeros_like(attn_mask, dtype=query.dtype)
        attn_mask = nothing.masked_fill(~attn_mask, -math.inf)
    bias = attn_mask.expand(*query.shape[:3], key.shape[2])
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    output = attend(query, key, value, bias, False, **options)[0]
    return output
