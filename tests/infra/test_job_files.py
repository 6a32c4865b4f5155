"""The job files are options of the real scan, and read data sets of the shapes that they name."""

import json
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.scan import main
from scanner.scan.config import ScanConfig
from scanner.scan.plan.inputs import choose_inputs
from tests.commands import parsed

JOBS = Path(__file__).parents[2] / "infra/jobs"
ROWS = 6
CAPTIONS = [f"a small boat number {row % 4}" for row in range(ROWS)]
URLS = [f"https://example.com/{row}.jpg" for row in range(ROWS)]
SHA256 = [f"{row:064x}" for row in range(ROWS)]


def _laion(folder: Path) -> str:
    """LAION-2B's columns, as published."""
    table = {
        "SAMPLE_ID": pa.array(range(ROWS), pa.int64()),
        "URL": URLS,
        "TEXT": CAPTIONS,
        "HEIGHT": [512] * ROWS,
        "WIDTH": [512] * ROWS,
        "LICENSE": ["?"] * ROWS,
        "NSFW": ["UNLIKELY"] * ROWS,
        "similarity": [0.3] * ROWS,
    }
    pq.write_table(pa.table(table), folder / "part-00000-snappy.parquet")
    return str(folder / "*.parquet")


def _datacomp(folder: Path) -> str:
    """The columns of DataComp's metadata."""
    table = {
        "uid": SHA256,
        "url": URLS,
        "text": CAPTIONS,
        "original_width": [512] * ROWS,
        "original_height": [512] * ROWS,
        "clip_b32_similarity_score": [0.2] * ROWS,
        "clip_l14_similarity_score": [0.2] * ROWS,
        "face_bboxes": [[[0.1, 0.1, 0.2, 0.2]]] * ROWS,
        "sha256": SHA256,
    }
    pq.write_table(pa.table(table), folder / "00000.parquet")
    return str(folder / "*.parquet")


def _img2dataset(folder: Path) -> str:
    """A shard of img2dataset: tar, its sidecar parquet and its stats; one download failed."""
    table = {
        "url": URLS,
        "caption": CAPTIONS,
        "key": [f"{row:09d}" for row in range(ROWS)],
        "status": ["success"] * (ROWS - 1) + ["failed_to_download"],
        "error_message": pa.array([None] * (ROWS - 1) + ["timeout"], pa.string()),
        "width": [256] * ROWS,
        "height": [256] * ROWS,
        "original_width": [512] * ROWS,
        "original_height": [512] * ROWS,
        "exif": ["{}"] * ROWS,
        "sha256": SHA256,
    }
    pq.write_table(pa.table(table), folder / "00000.parquet")
    (folder / "00000.tar").write_bytes(b"\0" * 10240)  # an empty archive: not to be read
    (folder / "00000_stats.json").write_text("{}")
    return str(folder)


SHAPES = {"laion": _laion, "datacomp": _datacomp, "img2dataset": _img2dataset}


@pytest.mark.parametrize("name", SHAPES)
def test_a_job_file_finds_the_columns_of_the_data_set_it_names(name: str, tmp_path: Path) -> None:
    file = JOBS / f"{name}.toml"
    stated = tomllib.loads(file.read_text())
    options = parsed(f"memscan scan --config {file} --captions '{SHAPES[name](tmp_path)}'")
    (found,) = choose_inputs(options)
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
    here = ["--captions", _img2dataset(tmp_path), "--out", str(tmp_path / "run")]
    machine = ["--model", "testbed", "--device", "cpu", "--cpus-per-actor", "1"]
    options = ["--config", str(JOBS / "img2dataset.toml"), *here, *machine]
    assert main([*options, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["samples"] == ROWS - 1, "what was not downloaded is left out"
    assert found["counts"]["captions"] == 4
    assert found["gflop_per_caption"] > 0
    assert found["preflight"] == "1 of 16 racing writers won"
    assert not (tmp_path / "run").exists()


def test_every_job_file_is_tried_and_stays_under_the_prefixes_of_the_bucket_policy() -> None:
    assert {path.stem for path in JOBS.glob("*.toml")} == set(SHAPES)
    for name in SHAPES:
        options: ScanConfig = parsed(f"memscan scan --config {JOBS / name}.toml")
        assert all(url.startswith("s3://BUCKET/inputs/") for url in options.captions)
        assert options.out.startswith("s3://BUCKET/runs/")
