"""memscan finetune with and without a guard."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.finetune import main
from scanner.models import load_model
from scanner.testbed import files
from tests.memscan import called


def test_a_guard_that_excludes_everything_keeps_the_weights(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    """The saved pipeline's U-Net changes only without the guard."""
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
    listed = pq.read_table(tmp_path / "entropy" / "excluded.parquet").to_pylist()
    assert {row["key"] for row in listed} <= set(rows["key"].to_pylist())
    assert sum(row["excluded_steps"] for row in listed) == 6
    assert main([*arguments, *tuning]) == 2, "a pipeline is not overwritten"


def test_clean_pairs_set_the_threshold(random_models: dict[str, Path], tmp_path: Path) -> None:
    few = tmp_path / "clean.parquet"
    pq.write_table(pq.read_table(files.HELDOUT).slice(0, 4), few)
    out, start = tmp_path / "out", str(random_models["sd1"])
    arguments = ["--model", start, "--data", str(few), "--out", str(out)]
    tuning = ["--steps", "1", "--batch", "64", "--guard", "entropy", "--clean", str(few)]
    assert main([*arguments, *tuning]) == 0
    assert pq.read_table(out / "excluded.parquet").schema.names[0] == "key"
    assert main([*arguments, *tuning, "--threshold", "1"]) == 2, "two thresholds"


def test_weights_by_probability_and_known_captions(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    """A caption known to be memorized is listed; the others keep their weight in the warm-up."""
    few, known = tmp_path / "few.parquet", tmp_path / "known.parquet"
    rows = pq.read_table(files.HELDOUT).slice(0, 4)
    pq.write_table(rows, few)
    first = rows["caption"][0].as_py()
    pq.write_table(pa.table({"caption": [first, None], "probability": [0.75, None]}), known)
    out, start = tmp_path / "out", str(random_models["sd1"])
    arguments = ["--model", start, "--data", str(few), "--out", str(out), "--guard", "loss"]
    tuning = ["--steps", "2", "--batch", "4", "--caption-dropout", "0"]
    arguments += [*tuning, "--weights", "probability", "--known", str(known)]
    assert main(arguments) == 0
    (row,) = pq.read_table(out / "excluded.parquet").to_pylist()
    assert (row["caption"], row["excluded_steps"], row["seen"]) == (first, 2, 2)
    assert (row["mean_weight"], row["mean_probability"]) == (0.25, 0.75)


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    data, out = str(files.HELDOUT), str(tmp_path / "out")
    guarded = ["--guard", "loss", "--weights", "probability"]
    for options, message in (
        (["--weights", "probability"], "need a --guard"),
        ([*guarded, "--threshold", "1"], "drop them"),
        (["--guard", "loss", "--cutoff", "0.5"], "--cutoff needs --weights probability"),
        ([*guarded, "--known", str(tmp_path / "no.parquet")], "no such file"),
        ([*guarded, "--known", data], "no column probability"),
        ([*guarded, "--cutoff", "2"], "cutoff 2.0: must be above 0"),
    ):
        done = called("finetune", "--data", data, "--out", out, *options, check=False)
        assert done.returncode != 0
        assert message in done.stderr, done.stderr


def test_bad_images_are_skipped_counted_and_listed(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    rows = pq.read_table(files.HELDOUT).slice(0, 5).to_pylist()
    rows[1]["image"], rows[3]["image"] = b"no picture", None
    rows[3]["key"] = "gone"
    data, out = tmp_path / "data.parquet", tmp_path / "out"
    columns = {name: [row[name] for row in rows] for name in ("key", "caption", "image")}
    pq.write_table(pa.table(columns), data)
    arguments = ["--model", str(random_models["sd1"]), "--data", str(data), "--out", str(out)]
    done = called("finetune", *arguments, "--steps", "1", "--batch", "2", "--json")
    found = json.loads(done.stdout)
    assert (found["samples"], found["skipped"]) == (3, 2)
    skipped = [(one["row"], one["key"]) for one in found["skipped_samples"]]
    assert skipped == [(1, rows[1]["key"]), (3, "gone")]
    assert "row 3 (key gone) skipped: no image" in done.stderr


def test_a_damaged_vae_is_refused_before_training(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    model = shutil.copytree(random_models["sd1"], tmp_path / "model")
    (model / "vae/diffusion_pytorch_model.safetensors").unlink()
    arguments = ["--model", str(model), "--data", str(files.HELDOUT), "--out", str(tmp_path / "o")]
    done = called("finetune", *arguments, "--steps", "1", check=False)
    assert done.returncode == 1
    assert f"memscan: model: {model}: no safetensors weights in vae/" in done.stderr
