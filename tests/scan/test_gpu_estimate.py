"""GPU-hours and cost on a card, and the options that they take."""

import json
import re
from pathlib import Path

import pytest

from jobs.scan import main
from scanner.errors import UsageError
from scanner.scan.config import ScanConfig
from scanner.scan.gpu_estimate import CARDS, card_name, gpu_estimate

BILLION = 1_000_000_000
README = Path("README.md")
# Stable Diffusion 1.4 at 512 px, as infra/README.md states it.
STANDARD_GFLOP = 897.3


def test_hours_and_cost_follow_from_peak_utilization_and_price() -> None:
    one = gpu_estimate("A100", BILLION, gflop=780.0, price=1.2, rate=None)
    assert one.captions_per_second_low == pytest.approx(100.0), "78 TFLOP/s, as published"
    assert one.captions_per_second_high == pytest.approx(152.0)
    assert one.hours_high == pytest.approx(BILLION / 100 / 3600)
    assert one.hours_low == pytest.approx(BILLION / 152 / 3600)
    assert one.cost_low == pytest.approx(1.2 * one.hours_low)
    assert one.cost_high == pytest.approx(1.2 * one.hours_high)
    assert "not measured" in one.assumption
    assert "published" in one.assumption


def test_a_measured_rate_replaces_the_assumption() -> None:
    one = gpu_estimate("t4", 36_000, gflop=780.0, price=None, rate=10.0)
    assert (one.hours_low, one.hours_high) == (1.0, 1.0)
    assert (one.cost_low, one.cost_high) == (None, None)
    assert "not measured" not in one.assumption


@pytest.mark.parametrize(
    ("given", "name"),
    [
        *((name, name) for name in CARDS),
        ("RTX 4090", "rtx4090"),
        ("3090", "rtx3090"),
        ("NVIDIA GeForce RTX 5090", "rtx5090"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-PCIE-40GB", "a100-40"),
        ("A100 40 GB", "a100-40"),
        ("NVIDIA A100 80GB PCIe", "a100"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("Tesla T4", "t4"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("H100 NVL 94GB", "h100-nvl"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA B200", "b200"),
    ],
)
def test_a_card_is_found_by_its_name_and_the_driver_s(given: str, name: str) -> None:
    assert card_name(given) == name


@pytest.mark.parametrize(
    "given", ["RTX 3090 Ti", "A10G", "V100 16GB", "L40", "", "H100 64GB", "Tesla M4"]
)
def test_a_card_that_is_not_in_the_table_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="not in the table; one of t4, v100, rtx3090"):
        card_name(given)


@pytest.mark.parametrize("given", ["mps", "Apple M3 Max", "m4"])
def test_an_apple_gpu_is_refused_with_the_reason(given: str) -> None:
    with pytest.raises(UsageError, match=r"Apple GPUs are not supported: .* tested for CUDA"):
        card_name(given)


def test_the_guide_s_sizing_is_what_an_estimate_prints() -> None:
    section = Path("infra/README.md").read_text().partition("## Sizing")[2]
    stated = re.findall(r"([\d.]+)\s+for `(?:triage|standard)`[,.]", section)
    gflop = [float(number) for number in stated[:2]]
    rows = re.findall(r"^\| (\w+).*?, (\d+), .*?\| (.*) \| (.*) \|$", section, re.MULTILINE)
    assert [row[0] for row in rows] == ["T4", "L4", "A100", "H100"]
    for name, peak, *hours in rows:
        for each, printed in zip(gflop, hours, strict=True):
            one = gpu_estimate(name, BILLION, each, None, None)
            assert float(peak) == one.peak_tflops
            assert printed == f"{one.hours_low:,.0f} to {one.hours_high:,.0f}"


def test_the_readme_s_hours_are_what_an_estimate_prints() -> None:
    rows = re.findall(r"^\| `([\w-]+)`, (\d+) GiB \| (.*) h, ", README.read_text(), re.MULTILINE)
    assert [name for name, *_ in rows] == list(CARDS)
    for name, memory, hours in rows:
        one = gpu_estimate(name, 1_000_000, STANDARD_GFLOP, None, None)
        assert int(memory) == one.memory_gib
        assert hours == f"{one.hours_low:.2g} to {one.hours_high:.2g}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu": "a1000"}, "--gpu a1000: not in the table; one of t4, v100, rtx3090, rtx4090"),
        ({"gpu": "a100", "dry_run": False}, "add --dry-run"),
        ({"gpu": "a100", "price": -1.0}, "--price -1: must be 0 or more"),
        ({"gpu": "a100", "price": float("nan")}, "--price nan"),
        ({"gpu": "a100", "captions_per_second": 0.0}, "--captions-per-second 0: must be more"),
        ({"price": 1.2}, "--price belongs to an estimate for a card: add --gpu"),
        ({"captions_per_second": 9.0}, "--captions-per-second belongs"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, object], message: str
) -> None:
    config = ScanConfig(**{"captions": ("a.txt",), "out": "run", "dry_run": True, **options})
    with pytest.raises(UsageError) as raised:
        config.check()
    assert message in str(raised.value)


@pytest.mark.slow
def test_a_dry_run_prints_the_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("a red fox\nan old boat\n")
    scan = ["--captions", str(tmp_path / "a.txt"), "--model", "testbed", "--dry-run"]
    scan += ["--gpu", "a100", "--price", "1.2"]
    assert main([*scan, "--json"]) == 0
    one = json.loads(capsys.readouterr().out)["gpu_estimate"]
    assert (one["gpu"], one["memory_gib"]) == ("a100", 80)
    assert 0 < one["cost_low"] < one["cost_high"]
    assert (one["fits"], one["is_offloaded"], one["largest_batch"]) == (True, False, 512)
    assert main(scan) == 0
    shown = capsys.readouterr().out
    assert "on one a100:" in shown
    assert "in batches of up to 512 (80 GiB)" in shown
    assert "assumption           not measured" in shown
