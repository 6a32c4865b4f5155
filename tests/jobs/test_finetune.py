"""Fine-tuning from the command line, with a guard and without."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.finetune import main
from scanner.mitigation import finetune as tuned
from scanner.models import load_model
from scanner.testbed import files


def test_a_guard_that_leaves_out_everything_keeps_the_weights(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    """Saved as a pipeline, whose U-Net moves only where it may learn."""
    rows = pq.read_table(files.HELDOUT).slice(0, 6)
    data, model = tmp_path / "data.parquet", str(random_models["sd1"])
    pq.write_table(rows.rename_columns(["id", "TEXT", "u", "w", "h", "jpg"]), data)
    tuning = ["--steps", "3", "--batch", "2", "--rate", "0.001", "--caption-dropout", "0"]
    start = load_model(model).unet.state_dict()
    moved = {}
    for guard in ("off", "entropy"):
        out = tmp_path / guard
        arguments = ["--model", model, "--data", str(data), "--out", str(out), "--guard", guard]
        assert main([*arguments, *tuning, "--threshold", "-1"]) == 0
        after = load_model(str(out)).unet.state_dict()
        moved[guard] = max(float((after[name] - old).abs().max()) for name, old in start.items())
    assert moved["off"] > 1e-3
    assert moved["entropy"] == 0
    listed = pq.read_table(tmp_path / "entropy" / "left-out.parquet").to_pylist()
    assert {row["key"] for row in listed} <= set(rows["key"].to_pylist())
    assert sum(row["left_out"] for row in listed) == 6
    assert main([*arguments, *tuning]) == 2, "it does not write over a pipeline"


def test_clean_pairs_set_the_threshold_and_no_other_is_given_beside_them(
    random_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "CALIBRATED_ON", 8)
    few = tmp_path / "clean.parquet"
    pq.write_table(pq.read_table(files.HELDOUT).slice(0, 4), few)
    out, start = tmp_path / "out", str(random_models["sd1"])
    arguments = ["--model", start, "--data", str(few), "--out", str(out)]
    tuning = ["--steps", "1", "--batch", "4", "--guard", "entropy", "--clean", str(few)]
    assert main([*arguments, *tuning]) == 0
    assert pq.read_table(out / "left-out.parquet").schema.names[0] == "key"
    assert main([*arguments, *tuning, "--threshold", "1"]) == 2, "two thresholds"
