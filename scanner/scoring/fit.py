"""Choose what a device holds for scoring: the text encoders or not, and how large a batch."""

from dataclasses import dataclass
from typing import Any

from scanner.memory import readable_bytes
from scanner.models.device.device_memory import DeviceMemory
from scanner.scoring.batch_size import FIRST
from scanner.scoring.memory import MemoryEstimate
from scanner.scoring.spec import Placement


@dataclass(frozen=True)
class Fit:
    """How scoring fits a device.

    offloads, offloads_denoiser: the text encoders, or the denoiser, are in host memory, and their
    layers or its blocks visit the device one by one.
    """

    estimate: MemoryEstimate
    memory: DeviceMemory
    offloads: bool
    offloads_denoiser: bool = False

    @property
    def largest_batch(self) -> int:
        """Captions that fit into the free memory, 0 if not even one does."""
        return self._largest_batch(self.memory.free)

    @property
    def encode_ahead(self) -> int:
        """Captions that offloaded text encoders encode at a time, 0 if they are on the device."""
        if not self.offloads:
            return 0
        return self.estimate.largest_encoding(self.memory.free, self.offloads_denoiser)

    @property
    def first_batch(self) -> int:
        """Captions of the first batch that is tried."""
        return max(1, min(FIRST, self.largest_batch))

    @property
    def refusal(self) -> str:
        """Why one caption does not fit, even into all of the device's memory, and the remedies; ""
        if it fits."""
        can_visit = self.estimate.visiting is not None
        if self.offloads_denoiser and not can_visit:
            return (
                "--denoiser offload is for transformers, and for signals without derivatives; "
                "leave it out"
            )
        if self._largest_batch(self.memory.total):
            return ""
        remedies = "--dtype float16 or bfloat16, a smaller --height and --width"
        if self.memory.kind != "cpu" and not self.offloads_denoiser and can_visit:
            remedies = f"--denoiser offload, {remedies}"
        if self.memory.kind != "cpu" and not self.offloads:
            remedies = f"--text-encoders offload, {remedies}"
        return (
            f"the model does not fit the {self.memory.device}: one caption needs "
            f"{readable_bytes(self._needed(1))} (weights "
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
            f"{readable_bytes(self._needed(captions))} in all; the "
            f"{memory.device} has {self._free()}: {self._verdict()}",
            *self._costs_of_offloading(),
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
            "needed": self._needed(captions),
            "device": memory.device,
            "free": memory.free,
            "total": memory.total,
            "offloads_text_encoders": self.offloads,
            "offloads_denoiser": self.offloads_denoiser,
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
        offloaded = " and ".join(
            ["the text encoders"] * self.offloads + ["the denoiser"] * self.offloads_denoiser
        )
        are = "is" if offloaded == "the denoiser" else "are"
        where = f"; {offloaded} {are} offloaded" if offloaded else ""
        return f"{whole} ({', '.join(parts)}{where})"

    def _needed(self, captions: int) -> int:
        return self.estimate.needed(captions, self.offloads, self.offloads_denoiser)

    def _largest_batch(self, free: int) -> int:
        return self.estimate.largest_batch(free, self.offloads, self.offloads_denoiser)

    def _costs_of_offloading(self) -> list[str]:
        if not self.offloads_denoiser:
            return []
        size = self.estimate.held() - sum(
            self.estimate.weights[part] for part in self.estimate.text_encoders
        )
        return [
            f"the denoiser's {readable_bytes(size)} are in host memory and copied to the device "
            "and back in every forward of a batch, and nothing is compiled, which is slower"
        ]


def fit(
    estimate: MemoryEstimate,
    memory: DeviceMemory,
    text_encoders: Placement = "auto",
    denoiser: Placement = "auto",
) -> Fit:
    """Choose where the parts are. By ``auto``, text encoders are on the device if one caption then
    fits into its free memory, and the denoiser unless not one fits into all of its memory."""
    on_cpu, total = memory.kind == "cpu", memory.total
    offloads, offloads_denoiser = text_encoders == "offload", denoiser == "offload"
    if text_encoders == "auto" and not on_cpu:
        offloads = not estimate.largest_batch(memory.free, False, offloads_denoiser)
    if denoiser == "auto" and not on_cpu and estimate.visiting is not None:
        offloads_denoiser = not estimate.largest_batch(total, offloads)
    return Fit(estimate, memory, offloads, offloads_denoiser)
