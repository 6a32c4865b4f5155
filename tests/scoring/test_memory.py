"""Memory that is estimated without computing against tensors that are counted on the CPU."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from scanner.models import load_model
from scanner.scoring import Scorer, memory
from scanner.scoring.memory import Activations, MemoryEstimate, estimate_memory, scoring_bytes
from scanner.scoring.peak_memory import _LiveTensors, peak_bytes

CASES = [
    *((kind, "standard", "float32") for kind in ("sd1", "sdxl", "sd35-t5", "pixart-sigma")),
    *((kind, "triage", "float32") for kind in ("sd2", "flux", "chroma", "pixart-alpha")),
    *((kind, "triage", "float32") for kind in ("lumina-2", "cogview4", "aura-flow", "z-image")),
    *((kind, "standard", "bfloat16") for kind in ("sd3", "pixart-sigma")),
    *((kind, "token_gradient", "float32") for kind in ("sd1", "sd3")),
    ("sd1", "trajectory", "float32"),
]
SMALL = {"flux", "chroma", "pixart-alpha", "z-image"}
"""Kinds whose random pipelines are of 1024 px."""
LONG = {"token_gradient", "trajectory"}
"""Profiles of many forwards, or of forwards with a gradient."""


def _scorer(folder: Path, profile: str, dtype: str, on: str) -> Scorer:
    model = load_model(str(folder), dtype, on)
    if profile == "token_gradient":
        return Scorer(model, signals=[profile])
    # More steps of a trajectory than are counted.
    return Scorer(model, profile, seeds=1, steps=6 if profile == "trajectory" else 4)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "profile", "dtype"), CASES)
def test_estimates_are_within_10_percent_of_counted_tensors(
    random_folders: dict[str, Path],
    kind: str,
    profile: str,
    dtype: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = kind in SMALL or profile in LONG
    if few:
        monkeypatch.setattr(memory, "MEASURED_AT", (1, 4) if profile in LONG else (1, 2, 4))
    scorer = _scorer(random_folders[kind], profile, dtype, "cpu")
    estimate = estimate_memory(_scorer(random_folders[kind], profile, dtype, "meta"), "cpu")
    for captions in (1, 3) if few else (1, 3, 6, 20):
        counted = scoring_bytes(scorer, scorer.model, captions, "cpu")
        assert estimate.activations(captions) == pytest.approx(counted, rel=0.1)


@pytest.mark.slow
def test_a_loaded_model_is_estimated_as_one_without_weights(
    random_models: dict[str, Path],
) -> None:
    loaded, meta = (
        _scorer(random_models["sd2"], "triage", "float32", on) for on in ("cpu", "meta")
    )
    assert estimate_memory(loaded, "cpu", (1, 4)) == estimate_memory(meta, "cpu", (1, 4))


def test_peak_is_what_lives_at_a_time() -> None:
    older = torch.zeros(1000)

    def compute() -> Tensor:
        first = older + 1  # 4,000 bytes
        del first
        second = torch.zeros(500, dtype=torch.float64)  # 4,000
        third = second.view(5, 100)[1:]  # shares
        return third.sum(0) + older[:100]  # 800 and 800

    assert peak_bytes(compute, "cpu") == 5600
    assert peak_bytes(lambda: older.view(10, 100).T, "cpu") == 0


def test_repeated_operations_count_as_computed_ones() -> None:
    """Views and operations in place too, and those of other shapes, strides or dtypes."""

    def compute(device: str) -> tuple[Tensor, ...]:
        x = torch.zeros(8, 6, device=device)
        for one in (x, x, x.T, x[:4], x.double(), x, x[:4]):
            y = one + 1
            z = torch.nn.functional.layer_norm(y * 1.5, y.shape[-1:]).add_(y)
            parts = z.view(-1).split(7), torch.stack([z, one]).max(0)[0], one * True
        return x, y, z, parts[1], *parts[0], parts[2]

    counted = [peak_bytes(lambda d=device: compute(d), device) for device in ("cpu", "meta")]
    assert counted[0] == counted[1]
    with _LiveTensors("meta") as live:
        meta = compute("meta")
    assert len(live._results._results) > 5
    for real, other in zip(compute("cpu"), meta, strict=True):
        assert (real.shape, real.stride(), real.dtype) == (other.shape, other.stride(), other.dtype)


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_fused_attention_counts_no_logits_without_a_device(masked: bool) -> None:
    counted = {}
    for device in ("cpu", "meta"):
        q, k, v = torch.zeros((3, 1, 2, 512, 16), device=device)
        mask = torch.ones((1, 1, 1, 512), dtype=torch.bool, device=device) if masked else None
        counted[device] = peak_bytes(
            lambda q=q, k=k, v=v, m=mask: scaled_dot_product_attention(q, k, v, attn_mask=m), device
        )
    logits = 4 * 2 * 512 * 512
    assert counted["meta"] == pytest.approx(counted["cpu"], rel=0.1)
    assert 4 * q.numel() <= counted["meta"] < logits / 10


ESTIMATE = MemoryEstimate(
    dtype="float16",
    weights={"transformer": 1000, "text_encoder": 300, "text_encoder_2": 500},
    text_encoders=("text_encoder", "text_encoder_2"),
    largest_layer=50,
    encoding=Activations(((1, 200), (4, 200), (8, 300))),
    denoising=Activations(((1, 100), (4, 250), (8, 450))),
)


def test_activations_lie_on_lines_between_and_beyond_batches() -> None:
    encoding = ESTIMATE.encoding
    assert [encoding.of(n) for n in (1, 3, 4, 6, 8, 12)] == [200, 200, 200, 250, 300, 400]
    assert encoding.per_caption == 25


def test_text_encoders_and_denoiser_do_not_run_together() -> None:
    assert [ESTIMATE.activations(n) for n in (1, 8)] == [200, 450]
    assert ESTIMATE.needed(8) == 1800 + 450


def test_offloaded_text_encoders_take_one_layer_at_a_time() -> None:
    assert ESTIMATE.needed(8, offloads=True) == 1000 + 450
    assert ESTIMATE.needed(1, offloads=True) == 1000 + 200 + 50


@pytest.mark.parametrize(
    ("free", "offloads", "largest"),
    [(1999, False, 0), (2000, False, 3), (2250, False, 8), (2300, False, 9), (1450, True, 8)],
)
def test_the_largest_batch_fits_and_one_more_does_not(
    free: int, offloads: bool, largest: int
) -> None:
    assert ESTIMATE.largest_batch(free, offloads) == largest
    assert ESTIMATE.needed(largest + 1, offloads) > free
