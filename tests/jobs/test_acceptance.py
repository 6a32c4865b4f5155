"""Acceptance runs: figures of each part, and independence from parts that fail."""

import json
import math
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from jobs.bench import main
from jobs.bench.acceptance import agreement, forwards, scoring
from jobs.bench.acceptance.differences import differences
from jobs.bench.acceptance.part import NotMeasured, Options, seconds
from jobs.bench.acceptance.parts import PARTS
from jobs.bench.acceptance.peaks import published
from jobs.bench.acceptance.run import accept, chosen
from jobs.bench.acceptance.sampling import mitigation
from jobs.bench.acceptance.tables import lines
from jobs.bench.acceptance.worker import PartOutcome, Worker
from jobs.bench.flops import TIMED
from scanner.errors import UsageError
from scanner.scoring.catalog import SIGNALS

SMALL = Options("testbed", "cpu", ("float32",), captions=8, batch=4, deadline=0.0)
"""The deadline has passed, so each measurement takes a single round."""


@pytest.mark.slow
def test_half_precision_is_close_to_float32_in_every_signal() -> None:
    figures = agreement.precision(replace(SMALL, captions=6, batch=6))
    of_unets = {name for name, one in SIGNALS.items() if one.needs.traits <= agreement.OFFERED}
    assert set(figures["signals"]) == of_unets
    assert not figures["errors"]
    for name, dtypes in figures["signals"].items():
        assert 0 < dtypes["float16"]["rms_in_deviations"] < 0.02, name
        assert dtypes["float16"]["max_absolute"] < dtypes["bfloat16"]["max_absolute"], name


def test_differences_are_measured_in_deviations_over_captions() -> None:
    ids = pa.array(["a", "b", "c"])
    first = {"caption_id": ids, "x": [1.0, 2.0, 3.0], "words": [[1.0], [2.0, 3.0], []]}
    second = {"caption_id": ids, "x": [1.0, 2.0, 3.5], "words": [[1.0], [2.0, 2.0], []]}
    figures = differences(pa.table(first), pa.table(second), ["x", "words"])
    assert figures["x"]["max_absolute"] == 0.5
    assert figures["x"]["max_relative"] == pytest.approx(0.5 / 3)
    assert figures["x"]["max_in_deviations"] == pytest.approx(0.5 / np.std([1, 2, 3]))
    assert figures["words"]["max_absolute"] == 1.0


def test_captions_missing_from_one_table_are_not_compared() -> None:
    first = pa.table({"caption_id": ["a", "b", "c"], "x": [1.0, 2.0, 3.0]})
    second = pa.table({"caption_id": ["a", "c"], "x": [1.0, 3.0]})
    assert differences(first, second, ["x"])["x"]["max_absolute"] == 0


@pytest.mark.slow
def test_rates_follow_from_counted_flops_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "measured", lambda dtype, options: 0.5)
    figures = scoring.throughput(SMALL)
    assert set(figures["profiles"]) == set(TIMED) == set(figures["schedule"])
    for profile in TIMED:
        each = figures["profiles"][profile]["float32"]
        rate = each["captions_per_second"] * each["gflop_per_caption"] / 1e3
        assert rate == pytest.approx(each["tflops"])
        assert each["percent_of_published"] is None
        assert each["percent_of_measured_matmul"] == pytest.approx(100 * each["tflops"] / 0.5)
    gflop = [figures["profiles"][name]["float32"]["gflop_per_caption"] for name in TIMED]
    assert gflop == sorted(gflop)


@pytest.mark.slow
def test_batch_sizes_are_timed_until_the_deadline() -> None:
    figures = scoring.sizes(
        Options("testbed", "cpu", ("float32",), 8, 4, deadline=time.monotonic())
    )
    assert list(figures["triage"]) == ["1"], "the first is always timed"
    assert figures["triage"]["1"]["captions_per_second"] > 0
    assert "out of time before batches of" in figures["ended"]


@pytest.mark.slow
def test_forwards_and_sampling_are_timed_on_the_same_work() -> None:
    figures = forwards.overhead(SMALL)["float32"]
    ratio = figures["stock"]["captions_per_second"] / figures["watched"]["captions_per_second"]
    assert figures["probe_overhead"] == pytest.approx(ratio - 1)
    sampled = mitigation(SMALL)
    assert sampled["finite"]
    assert sampled["rounds"] == 1
    assert sampled["time_ratio"] == pytest.approx(
        sampled["seconds_mitigated"] / sampled["seconds_plain"]
    )


@pytest.mark.parametrize(
    "name", ["parity", "memory", "fused", "kernels", "compiled_standard", "compiled_forward"]
)
def test_parts_that_need_a_gpu_are_skipped_with_a_reason(name: str) -> None:
    with pytest.raises(NotMeasured, match=r"CPU|CUDA"):
        PARTS[name].measure(SMALL)


def test_published_rates_match_a_whole_word_of_the_name() -> None:
    assert published("NVIDIA A100-SXM4-80GB") == 312
    assert published("Tesla V100-PCIE-16GB") == 125
    assert published("NVIDIA H200") == 989
    assert published("NVIDIA A10G") is None
    assert published("NVIDIA L40") is None
    assert published("NVIDIA L40S") == 362


def test_parts_run_in_order_and_unknown_names_are_refused() -> None:
    assert chosen(["throughput,parity"]) == ["parity", "throughput"]
    assert chosen([]) == list(PARTS)
    with pytest.raises(UsageError, match="--only speed: choose from device, parity"):
        chosen(["speed"])


def test_a_failed_part_does_not_stop_the_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--acceptance", "--device", "cpu", "--model", "no-such-model", "--json"]
    assert main([*words, "--only", "device,mitigation,kernels"]) == 1
    printed = capsys.readouterr()
    parts = json.loads(printed.out)["parts"]
    assert parts["device"]["values"]["measured_tflops"]["float32"] > 0
    for name in ("mitigation",):
        assert parts[name]["status"] == "failed"
        assert "\n" not in parts[name]["reason"]
        assert "no-such-model" in parts[name]["reason"]
    assert parts["kernels"]["status"] == "skipped"
    assert "kernels: skipped" in printed.err


def test_a_part_that_does_not_answer_is_stopped() -> None:
    process = Worker(grace=0.0)
    outcome = process.run("device", SMALL, 0.05)
    process.stop()
    assert outcome.status == "failed"
    assert outcome.reason == "no result within 0 s; stopped"


def test_no_part_starts_after_the_time_limit() -> None:
    record = accept(["device"], SMALL, 1)
    assert record["parts"]["device"]["reason"] == "the time limit of 1 s is reached"


def test_tables_show_three_digits_and_blanks_for_none() -> None:
    sizes = {
        "triage": {"1": {"captions_per_second": 12.3456, "peak_memory_bytes": 2**20}},
        "standard": {"1": {"captions_per_second": None, "peak_memory_bytes": None}},
    }
    assert lines("sizes", PartOutcome("passed", 2.0, sizes))[-2:] == [
        "| triage | 1 | 12.3 | 1 |",
        "| standard | 1 |  |  |",
    ]


def test_seconds_is_the_median_without_the_warm_up() -> None:
    naps = iter([0.2, 0.01, 0.05, 0.03])
    duration = seconds(
        lambda: time.sleep(next(naps)),
        agreement.opened("testbed", "float32", "cpu").device,
        Options("testbed", "cpu", (), 8, 4),
    )
    assert math.isclose(duration, 0.03, abs_tol=0.015)
