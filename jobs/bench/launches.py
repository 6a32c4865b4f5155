"""Count the operators that a batch launches, and its copies to the host, without a GPU."""

from collections import Counter
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from scanner.scoring import Scorer

# Operators that return their input or allocate memory, besides those marked as views.
NO_LAUNCH = frozenset(
    {"_unsafe_view", "alias", "detach", "detach_", "empty", "lift_fresh", "new_empty"}
)
READS = frozenset(
    getattr(torch.Tensor, name)
    for name in ("cpu", "item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__")
)


class LaunchCount(TorchDispatchMode):
    """Counts operators by name while active; composite ones count as what they consist of.

    launches: operators that compute or copy. views: those that only return their input, another
    view of it, or unset memory, such as dropout in evaluation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.views: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        name, options = operator._schema.name.removeprefix("aten::"), options or {}
        if name == "dropout" and not arguments[2]:
            self.views[name] += 1
            return arguments[0]
        with self:
            result = operator.decompose(*arguments, **options)
        if result is not NotImplemented:
            return result
        counter = self.views if operator.is_view or name in NO_LAUNCH else self.launches
        counter[name] += 1
        return operator(*arguments, **options)


class HostReadCount(TorchFunctionMode):
    """Counts calls that bring a tensor to the host while active; on a GPU, each copies from it.

    Called on the CPU, it also counts reads of tensors that are on the host in any case.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        self.reads += function in READS
        return function(*arguments, **(options or {}))


def count_launches(scorer: Scorer, captions: list[str]) -> tuple[LaunchCount, int]:
    """Return the operators of a batch, text encoder included, and its copies to the host.

    Counts the uncompiled forward, after a batch that computes what all captions share.
    """
    read = scorer.read(captions)
    scorer.compute(read)
    with LaunchCount() as launches, HostReadCount() as copies:
        scorer.compute(read)
    return launches, copies.reads
