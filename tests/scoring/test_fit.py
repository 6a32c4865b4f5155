"""What a device holds: text encoders leave a GPU only if they must, and the rest is refused."""

from dataclasses import replace

import pytest

from scanner.models.device.device_memory import DeviceMemory, device_memory
from scanner.scoring.fit import fit
from scanner.scoring.memory import Activations, MemoryEstimate
from scanner.scoring.spec import Placement

GIB = 1 << 30


def _line(fixed: float, per_caption: float) -> Activations:
    sizes = (1, 4, 8)
    return Activations(tuple((n, int(GIB * (fixed + n * per_caption))) for n in sizes))


FLUX = MemoryEstimate(
    dtype="bfloat16",
    weights={"transformer": 22 * GIB, "text_encoder": GIB // 4, "text_encoder_2": 9 * GIB},
    text_encoders=("text_encoder", "text_encoder_2"),
    largest_layer=GIB // 4,
    encoding=_line(0.1, 0.1),
    denoising=_line(0.5, 0.25),
)


def _memory(free: float, total: float | None = None, kind: str = "cuda") -> DeviceMemory:
    return DeviceMemory(kind, int(free * GIB), int((total or free) * GIB), kind)


@pytest.mark.parametrize(
    ("gib", "placement", "offloads", "largest"),
    [
        (40, "auto", False, 33),
        (32.01, "auto", False, 1),
        (31.9, "auto", True, 37),
        (24, "auto", True, 6),
        (40, "offload", True, 70),
        (31.9, "device", False, 0),
    ],
)
def test_text_encoders_leave_only_if_one_caption_would_not_fit(
    gib: float, placement: Placement, offloads: bool, largest: int
) -> None:
    fitted = fit(FLUX, _memory(gib), placement)
    assert (fitted.offloads, fitted.largest_batch) == (offloads, largest)
    assert fitted.first_batch == max(1, min(8, largest))


BLOCKWISE = replace(FLUX, visiting=2 * GIB)
"""A transformer, which can be offloaded."""


@pytest.mark.parametrize(
    ("gib", "total", "denoiser", "offloads", "largest"),
    [
        (24, 24, "auto", False, 6),
        (16, 16, "auto", True, 54),
        (10, 24, "auto", False, 0),
        (16, 16, "device", False, 0),
        (80, 80, "offload", True, 273),
    ],
)
def test_a_denoiser_leaves_only_if_it_could_never_fit(
    gib: float, total: float, denoiser: Placement, offloads: bool, largest: int
) -> None:
    fitted = fit(BLOCKWISE, _memory(gib, total), "auto", denoiser)
    assert (fitted.offloads_denoiser, fitted.largest_batch) == (offloads, largest)
    assert fit(FLUX, _memory(gib, total)).offloads_denoiser is False, "as a U-Net"
    assert fitted.to_json(1)["offloads_denoiser"] == offloads
    assert any("22.0 GiB are in host memory" in line for line in fitted.lines(1)) == offloads


def test_a_denoiser_that_stays_is_refused_with_the_remedy() -> None:
    refusal = fit(BLOCKWISE, _memory(16), "auto", "device").refusal
    assert "use --denoiser offload, --dtype" in refusal
    assert "for transformers" in fit(FLUX, _memory(80), "auto", "offload").refusal
    assert "--denoiser" not in fit(BLOCKWISE, _memory(2)).refusal, "it has been tried"


@pytest.mark.parametrize(("free", "ahead"), [(24, 16), (31.9, 95), (22, 0), (160, 512)])
def test_offloaded_encoders_take_what_fits_beside_the_denoiser(free: float, ahead: int) -> None:
    assert fit(FLUX, _memory(free), "offload").encode_ahead == ahead
    assert fit(FLUX, _memory(free), "device").encode_ahead == 0


def test_what_never_fits_is_refused_with_numbers_and_remedies() -> None:
    refusal = fit(FLUX, _memory(16)).refusal
    for part in ("22.8 GiB", "transformer 22.0 GiB", "has 16.0 GiB", "--dtype", "more memory"):
        assert part in refusal
    assert "--text-encoders" not in refusal, "it has been tried"
    assert "--text-encoders offload" in fit(FLUX, _memory(30), "device").refusal


def test_memory_that_others_hold_is_no_reason_to_refuse() -> None:
    fitted = fit(FLUX, _memory(10, total=80))
    assert not fitted.refusal
    assert fitted.first_batch == 1
    assert "once other processes free their memory" in fitted.lines(1)[-1]


def test_the_cpu_offloads_nothing_by_itself() -> None:
    fitted = fit(FLUX, _memory(24, kind="cpu"))
    assert not fitted.offloads
    assert "--text-encoders" not in fitted.refusal


def test_lines_and_json_give_the_same_numbers() -> None:
    fitted = fit(FLUX, _memory(40))
    lines, record = "\n".join(fitted.lines(8)), fitted.to_json(8)
    assert "in bfloat16: 31.2 GiB (transformer 22.0 GiB" in lines
    assert "256.0 MiB per caption, 2.5 GiB in a batch of 8" in lines
    assert record["needed"] == sum(record["weights"].values()) + record["activations"]
    assert record["activations"] == int(2.5 * GIB)
    assert record["largest_batch"] == 33
    assert "batches of up to 33 fit" in lines


def test_an_actor_s_share_bounds_the_machine_s_memory() -> None:
    whole, half = device_memory("cpu"), device_memory("cpu", 0.5)
    assert 0 < whole.free <= whole.total
    assert half.total == pytest.approx(whole.total / 2, abs=1)
    assert half.free <= half.total
