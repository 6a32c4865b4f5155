"""Pack all signals of a batch into one tensor, to copy it from the device once.

Shapes: S seeds, B captions, K values per caption (a list signal has several).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedBatch:
    """Signals of a batch during their copy to the host.

    widths: values per caption of each signal, None for a scalar. copied: event recorded after the
    copy.
    """

    host_SBK: Tensor
    widths: dict[str, int | None]
    copied: torch.cuda.Event | None

    def wait(self) -> dict[str, Tensor]:
        """Wait for the copy; return each signal's values, (S, B) or (S, B, K)."""
        if self.copied is not None:
            self.copied.synchronize()
        parts = self.host_SBK.split([width or 1 for width in self.widths.values()], 2)
        return {
            name: part[..., 0] if width is None else part
            for (name, width), part in zip(self.widths.items(), parts, strict=True)
        }


def pack(values: list[dict[str, Tensor]], rows: int) -> PackedBatch:
    """Pack the signals of each seed, (B,) or (B, K), and start one copy to the host.

    ``rows``: captions to keep; padding after them is dropped. A copy from a GPU goes to pinned
    memory without blocking.
    """
    widths = {name: one.shape[1] if one.ndim == 2 else None for name, one in values[0].items()}
    columns = [one.float().reshape(len(one), -1) for of_seed in values for one in of_seed.values()]
    packed_SBK = torch.cat(columns, 1).unflatten(1, (len(values), -1)).transpose(0, 1)[:, :rows]
    if packed_SBK.device.type != "cuda":
        return PackedBatch(packed_SBK.cpu(), widths, None)
    host_SBK = torch.empty(packed_SBK.shape, pin_memory=True)
    host_SBK.copy_(packed_SBK, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return PackedBatch(host_SBK, widths, copied)


def join(batches: list[Tensor]) -> Tensor:
    """Return a signal's values (S, B, …) of all batches; lists of trimmed texts end with zeros."""
    if len(batches) == 1:
        return batches[0]
    width = max(batch.shape[-1] for batch in batches)
    if batches[0].ndim == 3:
        batches = [torch.nn.functional.pad(one, (0, width - one.shape[-1])) for one in batches]
    return torch.cat(batches, 1)
