"""Record a denoiser's attention to the text, and run only the layers that are needed."""

from scanner.probe.attention import Attend
from scanner.probe.attention_record import AttentionRecord
from scanner.probe.choice import choose_attend
from scanner.probe.compiled import CompiledDenoiser
from scanner.probe.prefix import Prefix, record_prefix
from scanner.probe.recording import RecordingDenoiser, recording_denoiser
from scanner.probe.recording_unet import RecordingUNet
from scanner.probe.watching import watch_attention

__all__ = [
    "Attend",
    "AttentionRecord",
    "CompiledDenoiser",
    "Prefix",
    "RecordingDenoiser",
    "RecordingUNet",
    "choose_attend",
    "record_prefix",
    "recording_denoiser",
    "watch_attention",
]
