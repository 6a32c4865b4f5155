"""Record a U-Net's cross-attention during a forward, and run only the layers that are needed."""

from scanner.probe.attention import Attend, AttentionRecord, watch_attention
from scanner.probe.choice import choose_attend
from scanner.probe.compiled import CompiledUNet
from scanner.probe.prefix import Prefix, record_prefix
from scanner.probe.recording_unet import RecordingUNet

__all__ = [
    "Attend",
    "AttentionRecord",
    "CompiledUNet",
    "Prefix",
    "RecordingUNet",
    "choose_attend",
    "record_prefix",
    "watch_attention",
]
