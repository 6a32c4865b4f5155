"""Make a model stop reproducing what it has memorized: while it generates, and while it learns."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scanner.mitigation.guard import Guard
    from scanner.mitigation.inference import mitigate

__all__ = ["Guard", "mitigate"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the options of a command show without torch.
    if name == "Guard":
        from scanner.mitigation.guard import Guard

        return Guard
    if name == "mitigate":
        from scanner.mitigation.inference import mitigate

        return mitigate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
