"""An acceptance run measures what it says, and a part that fails leaves the others alone."""

import json
import math
import time

import numpy as np
import pyarrow as pa
import pytest

from jobs.bench import main
from jobs.bench.acceptance import agreement, forwards, scoring, worker
from jobs.bench.acceptance.differences import differences
from jobs.bench.acceptance.part import NotMeasured, Options, seconds
from jobs.bench.acceptance.parts import PARTS
from jobs.bench.acceptance.peaks import published
from jobs.bench.acceptance.run import accept, chosen
from jobs.bench.acceptance.sampling import mitigation
from jobs.bench.acceptance.tables import lines
from jobs.bench.acceptance.worker import Outcome, Worker
from scanner.errors import UsageError
from scanner.scoring.catalog import SIGNALS
from scanner.scoring.profiles import PROFILES

SMALL = Options("testbed", "cpu", ("float32",), captions=8, batch=4, deadline=0.0)
"""A deadline that is over: each measurement takes a single round."""


def test_half_precision_differs_little_from_float32_in_every_signal() -> None:
    found = agreement.precision(SMALL)
    assert set(found["signals"]) == set(SIGNALS)
    assert not found["errors"]
    for name, dtypes in found["signals"].items():
        assert 0 < dtypes["float16"]["rms_in_deviations"] < 0.02, name
        assert dtypes["float16"]["max_absolute"] < dtypes["bfloat16"]["max_absolute"], name


def test_differences_are_measured_in_deviations_over_captions() -> None:
    ids = pa.array(["a", "b", "c"])
    first = {"caption_id": ids, "x": [1.0, 2.0, 3.0], "words": [[1.0], [2.0, 3.0], []]}
    second = {"caption_id": ids, "x": [1.0, 2.0, 3.5], "words": [[1.0], [2.0, 2.0], []]}
    found = differences(pa.table(first), pa.table(second), ["x", "words"])
    assert found["x"]["max_absolute"] == 0.5
    assert found["x"]["max_relative"] == pytest.approx(0.5 / 3)
    assert found["x"]["max_in_deviations"] == pytest.approx(0.5 / np.std([1, 2, 3]))
    assert found["words"]["max_absolute"] == 1.0


def test_captions_that_one_table_lacks_are_not_compared() -> None:
    first = pa.table({"caption_id": ["a", "b", "c"], "x": [1.0, 2.0, 3.0]})
    second = pa.table({"caption_id": ["a", "c"], "x": [1.0, 3.0]})
    assert differences(first, second, ["x"])["x"]["max_absolute"] == 0


def test_rates_follow_from_counted_arithmetic_and_time() -> None:
    found = scoring.throughput(SMALL)
    assert set(found["profiles"]) == set(PROFILES) == set(found["schedule"])
    for profile in PROFILES:
        each = found["profiles"][profile]["float32"]
        rate = each["captions_per_second"] * each["gflop_per_caption"] / 1e3
        assert rate == pytest.approx(each["tflops"])
        assert each["percent_of_published"] is None
        assert 0 < each["percent_of_measured_matmul"] < 100
    gflop = [found["profiles"][name]["float32"]["gflop_per_caption"] for name in PROFILES]
    assert gflop == sorted(gflop)


def test_every_batch_size_has_a_rate_until_time_is_up() -> None:
    found = scoring.sizes(Options("testbed", "cpu", ("float32",), 8, 4, time.monotonic() + 0.01))
    assert found["triage"]["1"]["captions_per_second"] > 0
    assert "out of time before batches of" in found["ended"]


def test_forwards_and_sampling_are_timed_on_the_same_work() -> None:
    found = forwards.overhead(SMALL)["float32"]
    ratio = found["stock"]["captions_per_second"] / found["watched"]["captions_per_second"]
    assert found["probe_overhead"] == pytest.approx(ratio - 1)
    sampled = mitigation(SMALL)
    assert sampled["finite"]
    assert sampled["rounds"] == 1
    assert sampled["time_ratio"] == pytest.approx(
        sampled["seconds_mitigated"] / sampled["seconds_plain"]
    )


@pytest.mark.parametrize(
    "name", ["parity", "memory", "fused", "kernels", "compiled_standard", "compiled_forward"]
)
def test_what_needs_a_gpu_is_skipped_with_a_reason(name: str) -> None:
    with pytest.raises(NotMeasured, match=r"CPU|CUDA"):
        PARTS[name].measure(SMALL)


def test_published_rates_are_found_by_a_whole_word_of_the_name() -> None:
    assert published("NVIDIA A100-SXM4-80GB") == 312
    assert published("Tesla V100-PCIE-16GB") == 125
    assert published("NVIDIA H200") == 989
    assert published("NVIDIA A10G") is None
    assert published("NVIDIA L40S") is None


def test_parts_run_in_their_order_and_unknown_names_are_refused() -> None:
    assert chosen(["throughput,parity"]) == ["parity", "throughput"]
    assert chosen([]) == list(PARTS)
    with pytest.raises(UsageError, match="--only speed: one of device, parity"):
        chosen(["speed"])


def test_a_part_that_fails_is_one_line_and_the_next_still_runs(
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


def test_a_part_that_does_not_answer_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GRACE", 0.0)
    process = Worker()
    outcome = process.run("device", SMALL, 0.05)
    process.stop()
    assert outcome.status == "failed"
    assert outcome.reason == "no answer within 0 s; stopped"


def test_no_part_begins_when_the_time_of_the_run_is_up() -> None:
    record = accept(["device"], SMALL, 1)
    assert record["parts"]["device"]["reason"] == "the 1 s of the whole run are up"


def test_tables_show_three_digits_and_nothing_for_what_is_missing() -> None:
    sizes = {
        "triage": {"1": {"captions_per_second": 12.3456, "peak_memory_bytes": 2**20}},
        "standard": {"1": {"captions_per_second": None, "peak_memory_bytes": None}},
    }
    assert lines("sizes", Outcome("passed", 2.0, sizes))[-2:] == [
        "| triage | 1 | 12.3 | 1 |",
        "| standard | 1 |  |  |",
    ]


def test_the_median_round_counts_and_the_first_does_not() -> None:
    naps = iter([0.2, 0.01, 0.05, 0.03])
    took = seconds(
        lambda: time.sleep(next(naps)),
        agreement.opened("testbed", "float32", "cpu").device,
        Options("testbed", "cpu", (), 8, 4),
    )
    assert math.isclose(took, 0.03, abs_tol=0.015)
