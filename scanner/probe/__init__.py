"""Watch a U-Net's cross-attention while it runs, and run no more of it than is asked."""

from scanner.probe.attention import AttentionRecord, Enough, watch_attention
from scanner.probe.prefix import Prefix, record_prefix, replay_prefix

__all__ = [
    "AttentionRecord",
    "Enough",
    "Prefix",
    "record_prefix",
    "replay_prefix",
    "watch_attention",
]
