"""Reduce memorization in a diffusion model, during generation and during training."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scanner.mitigation.guard import Guard
    from scanner.mitigation.inference import mitigate

__all__ = ["Guard", "mitigate"]


def __getattr__(name: str) -> Any:
    # Lazy imports: a command's --help must not load torch.
    if name == "Guard":
        from scanner.mitigation.guard import Guard

        return Guard
    if name == "mitigate":
        from scanner.mitigation.inference import mitigate

        return mitigate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
