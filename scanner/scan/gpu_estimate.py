"""Estimate GPU-hours and cost on a card that this machine does not have.

A card's speed is assumed to be its published peak times a published utilization, until it has been
measured (``memscan bench --acceptance``).
"""

import re
from dataclasses import asdict, dataclass

from scanner.errors import UsageError
from scanner.models.device.device_option import APPLE


@dataclass(frozen=True)
class Card:
    """A GPU: dense float16 TFLOP/s, accumulated in float32, and GiB of memory, by the vendor's data
    sheet."""

    peak_tflops: float
    memory_gib: int
    source: str


CARDS = {
    "t4": Card(65, 16, "NVIDIA T4 data sheet"),
    "v100": Card(125, 32, "NVIDIA V100 data sheet, SXM2"),
    "rtx3090": Card(71, 24, "NVIDIA Ampere GA102 whitepaper, RTX 3090"),
    "rtx4090": Card(165, 24, "NVIDIA Ada whitepaper, RTX 4090, without sparsity"),
    "rtx5090": Card(209, 32, "NVIDIA RTX Blackwell whitepaper, RTX 5090, without sparsity"),
    "a10": Card(125, 24, "NVIDIA A10 data sheet"),
    "l4": Card(121, 24, "NVIDIA L4 data sheet, without sparsity"),
    "l40s": Card(362, 48, "NVIDIA L40S data sheet, without sparsity"),
    "a100-40": Card(312, 40, "NVIDIA A100 data sheet, 40 GB"),
    "a100": Card(312, 80, "NVIDIA A100 data sheet, SXM"),
    "h100": Card(989, 80, "NVIDIA H100 data sheet, SXM, without sparsity"),
    "h100-pcie": Card(756, 80, "NVIDIA H100 data sheet, PCIe, without sparsity"),
    "h100-nvl": Card(835, 94, "NVIDIA H100 data sheet, NVL, without sparsity"),
    "h200": Card(989, 141, "NVIDIA H200 data sheet, SXM, without sparsity"),
    "b200": Card(2250, 180, "NVIDIA DGX B200 data sheet, per GPU, without sparsity"),
}
_ALIASES = {"a100-80": "a100", "3090": "rtx3090", "4090": "rtx4090", "5090": "rtx5090"}
# Words of product names that do not tell cards of the table apart; pcie and nvl do for the H100.
_IGNORED = re.compile(
    r"\b(nvidia|geforce|tesla|graphics|device|gpu|tensor|core|pcie|hgx|dgx|(sxm|nvl|hbm)\d*e?)\b"
)
_APPLE = re.compile(r"\b(apple|mps|m[1-9])\b")
UTILIZATION = (0.25, 0.38)
"""Shares of the peak that Stable Diffusion 1 reaches on an A100 in float16, uncompiled with
channels-last weights (78 TFLOP/s) and compiled, by diffusers' published table."""
PUBLISHED = (
    "not measured: 25 % (uncompiled) to 38 % (compiled) of the card's peak, which diffusers' "
    "published table gives for Stable Diffusion 1 on an A100; measure your card with memscan bench "
    "--acceptance and pass --captions-per-second"
)
MEASURED = "the given --captions-per-second"


@dataclass(frozen=True)
class GpuEstimate:
    """Speed of one card, and GPU-hours and cost of a scan, with bounds; cost is None without a
    price. assumption: where the speed comes from."""

    gpu: str
    peak_tflops: float
    memory_gib: int
    source: str
    captions_per_second_low: float
    captions_per_second_high: float
    hours_low: float
    hours_high: float
    cost_low: float | None
    cost_high: float | None
    assumption: str


def find_card(name: str) -> Card:
    """Return a card of the table; see :func:`card_name`."""
    return CARDS[card_name(name)]


def card_name(name: str) -> str:
    """Return the table's name of a card, given as there or as the driver does: ``RTX 4090``,
    ``NVIDIA A100-SXM4-80GB``. Raises UsageError if it is not there."""
    words = re.sub(r"[\s_-]+", " ", name.lower())
    variant = re.search(r"\bh100\b.*\b(pcie|nvl)\b", words)
    plain = re.sub(r"(\d) ?gi?b\b", r"\1", _IGNORED.sub(" ", words))
    plain = "-".join(plain.split())
    if variant:
        plain = plain.replace("h100", f"h100-{variant[1]}")
    for each in (plain, _ALIASES.get(plain, ""), plain.replace("-", "")):
        if each in CARDS:
            return each
    for each, card in CARDS.items():  # with its memory, of which there is one size
        if plain == f"{each}-{card.memory_gib}":
            return each
    if _APPLE.search(words) and not re.search(r"\b(nvidia|tesla)\b", words):
        raise UsageError(f"--gpu {name}: {APPLE}")
    raise UsageError(f"--gpu {name}: not in the table; one of {', '.join(CARDS)}")


def gpu_estimate(
    name: str, captions: int, gflop: float, price: float | None, rate: float | None
) -> GpuEstimate:
    """Estimate a scan on one card of this name.

    ``gflop``: cost per caption, text encoder included. ``price``: per GPU-hour. ``rate``: measured
    captions per second of one card; replaces the assumed utilization.
    """
    name = card_name(name)
    card = CARDS[name]
    low, high = (card.peak_tflops * 1e3 * share / gflop for share in UTILIZATION)
    if rate is not None:
        low = high = rate
    hours_low, hours_high = (captions / speed / 3600 for speed in (high, low))
    return GpuEstimate(
        gpu=name,
        **asdict(card),
        captions_per_second_low=low,
        captions_per_second_high=high,
        hours_low=hours_low,
        hours_high=hours_high,
        cost_low=None if price is None else hours_low * price,
        cost_high=None if price is None else hours_high * price,
        assumption=PUBLISHED if rate is None else MEASURED,
    )


def check_estimate(gpu: str | None, price: float | None, rate: float | None, dry_run: bool) -> None:
    """Raise UsageError for options of an estimate that are out of range or lack another one."""
    if gpu is not None:
        find_card(gpu)
        if not dry_run:
            raise UsageError("--gpu estimates a scan and runs none: add --dry-run")
    for flag, number in (("--price", price), ("--captions-per-second", rate)):
        if number is not None and gpu is None:
            raise UsageError(f"{flag} belongs to an estimate for a card: add --gpu")
    if price is not None and not 0 <= price < float("inf"):
        raise UsageError(f"--price {price:g}: must be 0 or more per GPU-hour")
    if rate is not None and not 0 < rate < float("inf"):
        raise UsageError(f"--captions-per-second {rate:g}: must be more than 0")
