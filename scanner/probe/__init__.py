"""Watch a U-Net's cross-attention while it runs, and run no more of it than is asked."""

from scanner.probe.attention import Attend, AttentionRecord, watch_attention
from scanner.probe.choice import choose_attend
from scanner.probe.compiled import CompiledUNet
from scanner.probe.prefix import Prefix, record_prefix
from scanner.probe.watched import WatchedUNet

__all__ = [
    "Attend",
    "AttentionRecord",
    "CompiledUNet",
    "Prefix",
    "WatchedUNet",
    "choose_attend",
    "record_prefix",
    "watch_attention",
]
