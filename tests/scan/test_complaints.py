"""The complaints of a finished scan, computed from its counts."""

from pathlib import Path

import pytest

from jobs.scan import exit_status
from scanner.run import Plan, Run, Slice
from scanner.scan.config import ScanConfig
from scanner.scan.opening import inputs_record, options_record
from scanner.scan.results import result_of
from scanner.scan.scan import scan
from scanner.storage import Store


def test_failed_downloads_do_not_count_as_rejects(tmp_path: Path) -> None:
    config = ScanConfig(captions=("a.parquet",), out=str(tmp_path / "run"), model="testbed")
    run = Run(Store(config.out))
    options, inputs = options_record(config, config.model_spec), inputs_record(config)
    run.begin({"inputs": inputs, "options": options, "fingerprint": {"id": "f"}})
    counts = {"rows": 100, "samples": 30, "rejects": 70, "not_downloaded": 50, "captions": 0}
    run.adopt(Plan((), (), (), (), (), counts | {"rejected_files": 0}, {}))
    run.seal()
    assert [one.split(";")[0] for one in scan(config, print).complaints] == [
        "20 of 50 rows were rejected"
    ]


COUNTS = {"rows": 100, "samples": 100, "rejects": 0, "captions": 0, "rejected_files": 0}
SLICE = Slice("000000", "captions/0.parquet", "00", "ff", 7)


@pytest.mark.parametrize(
    ("counts", "slices", "status", "accepted"),
    [
        ({}, (), 0, 0),
        ({"rejects": 90, "samples": 10}, (), 3, 0),
        ({"rejected_files": 1}, (), 3, 0),
        ({"captions": 7}, (SLICE,), 3, 3),
        ({"captions": 7, "rejects": 90, "samples": 10, "rejected_files": 1}, (SLICE,), 3, 3),
    ],
    ids=["nothing", "rows", "file", "quarantined slice", "all"],
)
def test_accepted_rejects_do_not_fail_but_a_slice_does(
    tmp_path: Path, counts: dict[str, int], slices: tuple[Slice, ...], status: int, accepted: int
) -> None:
    config = ScanConfig(captions=("a.parquet",), out=str(tmp_path / "run"), model="testbed")
    run = Run(Store(config.out))
    options, inputs = options_record(config, config.model_spec), inputs_record(config)
    run.begin({"inputs": inputs, "options": options, "fingerprint": {"id": "f"}})
    run.adopt(Plan((), (), (), (), slices, COUNTS | counts, {}))
    result = result_of(run, run.seal(), config)
    assert exit_status(result, False) == status
    assert exit_status(result, True) == accepted
    assert bool(result.complaints) == bool(status)
