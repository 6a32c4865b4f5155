"""Watch a U-Net's cross-attention while it runs."""

from scanner.probe.attention import watch_attention

__all__ = ["watch_attention"]
