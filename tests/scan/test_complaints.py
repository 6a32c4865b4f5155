"""What a finished scan complains of, by its counts alone."""

from pathlib import Path

from scanner.run import Plan, Run
from scanner.scan.config import ScanConfig
from scanner.scan.drive import scan
from scanner.scan.record import asked_of, what_is_scanned
from scanner.storage import Store


def test_rows_that_were_never_downloaded_are_no_rejects_in_the_complaint(tmp_path: Path) -> None:
    config = ScanConfig(captions=("a.parquet",), out=str(tmp_path / "run"), model="testbed")
    run = Run(Store(config.out))
    asked, inputs = asked_of(config), what_is_scanned(config)
    run.begin({"inputs": inputs, "asked": asked, "fingerprint": {"id": "f"}})
    counts = {"rows": 100, "samples": 30, "rejects": 70, "not_downloaded": 50, "captions": 0}
    run.adopt(Plan((), (), (), (), (), counts | {"rejected_files": 0}, {}))
    run.seal()
    assert [one.split(";")[0] for one in scan(config, print).complaints] == [
        "20 of 50 rows were rejected"
    ]
