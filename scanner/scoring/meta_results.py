"""Repeat the results of operations on the meta device, whose kernels are mostly in Python."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


class MetaResults:
    """Remembers the shapes, strides and dtypes of what operations on the meta device return.

    These depend only on those of the tensors given and on the values of other arguments: equal
    calls return new tensors at once. Only of operations that return new tensors: not of views, and
    not of those that write in place.
    """

    def __init__(self) -> None:
        self._results: dict[Any, Any] = {}
        self._others: set[Any] = set()

    def key(self, call: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Return a key that equal calls share, None if the call cannot be repeated."""
        if call in self._others:
            return None
        try:
            key = call, _traits(args), _traits(kwargs), _traits(kwargs.values())
            hash(key)
        except TypeError:  # a tensor on another device, or an argument without a hash
            return None
        return key

    def repeat(self, key: Any) -> Any:
        """Return new tensors like those that an equal call returned, None without one."""
        kept = self._results.get(key)
        return kept and kept[0](_made(one) for one in kept[1])

    def remember(self, key: Any, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        """Keep a result for :meth:`repeat`; no longer give keys to operations like views."""
        call = key[0]
        if not call._schema.is_mutable and isinstance(result, Tensor | tuple):
            is_one = isinstance(result, Tensor)
            parts = (result,) if is_one else result
            if _are_new(parts, args, kwargs):
                self._results[key] = next if is_one else tuple, [*map(_described, parts)]
                return
        self._others.add(call)


def _traits(values: Iterable[Any]) -> tuple[Any, ...]:
    traits: list[Any] = []
    for value in values:
        if isinstance(value, Tensor):
            if not value.is_meta:
                raise TypeError
            keys = torch._C._dispatch_keys(value).raw_repr()
            traits.append((value.dtype, value.shape, value.stride(), keys))
        elif isinstance(value, list | tuple):
            traits.append(_traits(value))
        else:
            traits.append((type(value), value))  # 1, 1.0 and True are equal
    return tuple(traits)


def _described(part: Any) -> Any:
    return (part.shape, part.stride(), part.dtype) if isinstance(part, Tensor) else part


def _made(part: Any) -> Any:
    if isinstance(part, tuple):
        shape, stride, dtype = part
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    return part


def _are_new(parts: Iterable[Any], args: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether each tensor has its own storage, of the size that :func:`_made` gives it."""
    tensors = [one for one in parts if isinstance(one, Tensor)]
    if not all(one.is_meta and one.layout == torch.strided for one in tensors):
        return False
    given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    storages = {one.untyped_storage()._cdata for one in (*given, *tensors)}
    shared = {one.untyped_storage()._cdata for one in given}
    return len(storages) == len(shared) + len(tensors) and all(
        one.storage_offset() == 0
        and one.untyped_storage().nbytes() == _made(_described(one)).untyped_storage().nbytes()
        for one in tensors
    )
