"""The job files are options of the real scan, and read data sets of the shapes that they name."""

import json
import tomllib
from pathlib import Path

import pytest

from jobs.scan import main
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from tests.commands import parsed
from tests.infra.shapes import ROWS, SHAPES, img2dataset

JOBS = Path(__file__).parents[2] / "infra/jobs"


@pytest.mark.parametrize("name", SHAPES)
def test_a_job_file_finds_the_columns_of_the_data_set_it_names(name: str, tmp_path: Path) -> None:
    file = JOBS / f"{name}.toml"
    stated = tomllib.loads(file.read_text())
    options = parsed(f"memscan scan --config {file} --captions '{SHAPES[name](tmp_path)}'")
    (found,) = choose_inputs(options).files
    assert found.problem == ""
    assert found.columns
    chosen = found.columns
    assert chosen.caption == stated["caption_column"]
    assert chosen.key == stated["key_column"]
    assert chosen.image_key == stated["image_key"]
    assert list(chosen.keep) == stated["keep"]
    assert (chosen.status == "status") == (name == "img2dataset")


def test_a_job_file_is_run_as_it_stands_but_for_places_and_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--captions", img2dataset(tmp_path), "--out", str(tmp_path / "run")]
    machine = ["--model", "testbed", "--device", "cpu", "--cpus-per-actor", "1"]
    options = ["--config", str(JOBS / "img2dataset.toml"), *here, *machine]
    assert main([*options, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["samples"] == ROWS - 1, "what was not downloaded is left out"
    assert found["rejects"] == {"not downloaded": 1}
    assert found["counts"]["captions"] == 4
    assert found["gflop_per_caption"] > 0
    assert found["preflight"] == "1 of 16 racing writers won"
    assert not (tmp_path / "run").exists()


def test_job_files_stay_below_the_bucket_policy_s_prefixes() -> None:
    assert {path.stem for path in JOBS.glob("*.toml")} == set(SHAPES)
    for name in SHAPES:
        options: ScanConfig = parsed(f"memscan scan --config {JOBS / name}.toml")
        assert all(url.startswith("s3://BUCKET/inputs/") for url in options.captions)
        assert options.out.startswith("s3://BUCKET/runs/")
