"""Choose what a device holds for scoring: the text encoders or not, and how large a batch."""

from dataclasses import dataclass
from typing import Any

from scanner.memory import readable_bytes
from scanner.models.device_memory import DeviceMemory
from scanner.scoring.batch_size import FIRST
from scanner.scoring.memory import MemoryEstimate
from scanner.scoring.spec import TextEncoders


@dataclass(frozen=True)
class Fit:
    """How scoring fits a device.

    offloads: the text encoders are in host memory, and their layers visit the device one by one.
    largest_batch: captions that fit into the free memory, 0 if not even one does.
    """

    estimate: MemoryEstimate
    memory: DeviceMemory
    offloads: bool
    largest_batch: int

    @property
    def first_batch(self) -> int:
        """Captions of the first batch that is tried."""
        return max(1, min(FIRST, self.largest_batch))

    @property
    def refusal(self) -> str:
        """Why one caption does not fit, even into all of the device's memory, and the remedies; ""
        if it fits."""
        if self.estimate.largest_batch(self.memory.total, self.offloads):
            return ""
        remedies = "--dtype float16 or bfloat16, a smaller --height and --width"
        if not self.offloads and self.memory.kind != "cpu":
            remedies = f"--text-encoders offload, {remedies}"
        return (
            f"the model does not fit the {self.memory.device}: one caption needs "
            f"{readable_bytes(self.estimate.needed(1, self.offloads))} (weights "
            f"{self._weights()}), and the device has {readable_bytes(self.memory.total)}; use "
            f"{remedies}, or a device with more memory"
        )

    def lines(self, captions: int) -> list[str]:
        """Describe the weights, the activations of a batch, and what the device has."""
        estimate, memory = self.estimate, self.memory
        activations = estimate.activations(captions, self.offloads)
        one_more = estimate.activations(captions + 1, self.offloads) - activations
        return [
            f"weights in {estimate.dtype}: {self._weights()}",
            f"activations {readable_bytes(one_more)} per caption, {readable_bytes(activations)} in "
            f"a batch of {captions:,}",
            f"{readable_bytes(estimate.needed(captions, self.offloads))} in all; the "
            f"{memory.device} has {self._free()}: {self._verdict()}",
        ]

    def to_json(self, captions: int) -> dict[str, Any]:
        """Return all bytes for a batch of so many captions, and the lines that describe them."""
        estimate, memory = self.estimate, self.memory
        return {
            "dtype": estimate.dtype,
            "weights": estimate.weights,
            "text_encoders": list(estimate.text_encoders),
            "activations": estimate.activations(captions, self.offloads),
            "activations_per_caption": estimate.denoising.per_caption,
            "batch_size": captions,
            "needed": estimate.needed(captions, self.offloads),
            "device": memory.device,
            "free": memory.free,
            "total": memory.total,
            "offloads_text_encoders": self.offloads,
            "largest_batch": self.largest_batch,
            "refusal": self.refusal,
            "lines": self.lines(captions),
        }

    def _verdict(self) -> str:
        if self.refusal:
            return "does not fit"
        if not self.largest_batch:
            return "fits once other processes free their memory"
        return f"batches of up to {self.largest_batch:,} fit"

    def _free(self) -> str:
        total = readable_bytes(self.memory.total)
        is_unused = self.memory.free == self.memory.total
        return total if is_unused else f"{readable_bytes(self.memory.free)} free of {total}"

    def _weights(self) -> str:
        estimate = self.estimate
        parts = [f"{part} {readable_bytes(size)}" for part, size in estimate.weights.items()]
        whole = readable_bytes(sum(estimate.weights.values()))
        where = "; the text encoders are offloaded" if self.offloads else ""
        return f"{whole} ({', '.join(parts)}{where})"


def fit(estimate: MemoryEstimate, memory: DeviceMemory, placement: TextEncoders = "auto") -> Fit:
    """Choose where the text encoders are: by ``auto`` on the device, if one caption then fits into
    its free memory."""
    offloads = placement == "offload"
    if placement == "auto" and memory.kind != "cpu":
        offloads = not estimate.largest_batch(memory.free)
    return Fit(estimate, memory, offloads, estimate.largest_batch(memory.free, offloads))
