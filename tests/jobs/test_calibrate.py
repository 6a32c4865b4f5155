"""The command, as its user runs it, in this process: the libraries take seconds to load."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from tests.calibration.runs import synthetic_labels, synthetic_run
from tests.sealed import seal_run


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Memscan = Callable[..., Done]


@pytest.fixture
def memscan(capsys: pytest.CaptureFixture[str]) -> Memscan:
    def call(command: str, *arguments: str) -> Done:
        status = importlib.import_module(f"jobs.{command}").main(arguments)
        return Done(status, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return synthetic_run(tmp_path_factory.mktemp("calibrate") / "run")


def test_labels_make_a_calibration_that_ranks(memscan: Memscan, run: str, tmp_path: Path) -> None:
    labels, out = synthetic_labels(tmp_path / "labels.csv"), tmp_path / "calibration.json"
    done = memscan("calibrate", run, "--labels", labels, "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record.keys() >= {"signals", "combination", "text_only", "clusters"}
    for one in (*record["signals"].values(), record["combination"], *record["text_only"].values()):
        assert one.keys() >= {"auc", "auc_low", "auc_high", "tpr_at", "threshold_at"}
        assert one["tpr_at"].keys() == one["threshold_at"].keys() == {"0.001", "0.01", "0.03"}
        assert one["tpr_at"]["0.001"] is None  # 240 captions that are not memorized
        assert one["auc_low"] <= one["auc"] <= one["auc_high"]
    assert record["out"] == str(out)
    rows = json.loads(memscan("rank", run, "--calibration", str(out), "--json").stdout)
    assert {row["signal"] for row in rows} == {"combination"}
    assert sum(int(row["caption"].split()[1]) < 60 for row in rows[:30]) >= 28
    query = "SELECT count(*) AS n FROM ranked JOIN thresholds ON signal = decision_signal"
    asked = f"{query} WHERE decision_value >= threshold"
    (row,) = json.loads(memscan("sql", run, asked, "--calibration", str(out), "--json").stdout)
    assert 30 < row["n"] < 70


def test_people_read_the_same(memscan: Memscan, run: str, tmp_path: Path) -> None:
    labels = synthetic_labels(tmp_path / "labels.csv")
    with Path(labels).open("a") as file:
        file.write("a caption of another run,true\n")
    done = memscan("calibrate", run, "--labels", labels, "--prevalence", "0.001")
    assert done.returncode == 0, done.stderr
    for part in (
        "300 labelled captions, 60 of them memorized",
        "attention_only",
        "what the combination adds to the AUC of",
        "if 0.10% of the captions are memorized (as given)",
        "promised",
        "nothing written",
    ):
        assert part in done.stdout
    assert "1 labels name no caption" in done.stderr


def test_without_labels_the_list_is_what_the_null_supports(
    memscan: Memscan, run: str, tmp_path: Path
) -> None:
    record = json.loads(memscan("calibrate", run, "--fdr", "0.2", "--json").stdout)["null"]
    assert (record["null"], record["null_captions"], record["smallest"]) == ("reference", 100, 10)
    assert record["expected_false"] <= 0.2 * record["length"]
    out = tmp_path / "list.json"
    shown = memscan("calibrate", run, "--fdr", "0.2", "--out", str(out)).stdout
    assert "exchangeable" in shown
    assert "the smallest list that the null set can support: 10 captions" in shown
    query = "SELECT count(*) AS n FROM ranked, thresholds WHERE noise_norm_first >= threshold"
    (row,) = json.loads(memscan("sql", run, query, "--calibration", str(out), "--json").stdout)
    assert row["n"] == record["length"]
    bulk = memscan("calibrate", run, "--null", "bulk").stdout
    assert "of their own: AN ASSUMPTION" in bulk
    assert "how many of them falsely is not known" in bulk
    assert "on average" not in bulk


def test_a_reference_caption_that_was_trained_on_is_no_null_and_that_is_said(
    memscan: Memscan, tmp_path: Path
) -> None:
    captions = [
        {"caption_id": name, "caption": name, "is_reference": name == "held"}
        for name in ("both", "held", "trained")
    ]
    samples = [{"caption_id": row["caption_id"], "is_reference": False} for row in captions[::2]]
    samples += [{"caption_id": name, "is_reference": True} for name in ("both", "held")]
    scores = pa.table({"caption_id": ["both", "held", "trained"], "noise_norm_first": [1.0, 2, 3]})
    made = seal_run(tmp_path / "run", samples, captions, scores)
    done = memscan("calibrate", made)
    assert "2 captions by noise_norm_first, compared with 1" in done.stdout
    assert "that are in the training set too, and left out: 1" in done.stderr


def test_a_calibration_whose_labels_differ_in_style_is_doubted_wherever_it_is_used(
    memscan: Memscan, run: str, tmp_path: Path
) -> None:
    labels, out = synthetic_labels(tmp_path / "labels.csv"), tmp_path / "c.json"
    doubt = "the labels differ in style"
    assert doubt not in memscan("calibrate", run, "--labels", labels, "--out", str(out)).stderr
    assert doubt not in memscan("rank", run, "--calibration", str(out)).stderr
    made = json.loads(out.read_text())
    made["evaluation"]["gains"]["text_combination"]["low"] = -0.01
    out.write_text(json.dumps(made))
    told = memscan("rank", run, "--calibration", str(out)).stderr
    assert doubt not in told, "words that tell nothing are no style, however wide the interval"
    made["evaluation"]["text_only"]["text_combination"]["auc_low"] = 0.6
    out.write_text(json.dumps(made))
    assert f"{out}: the words alone" in memscan("rank", run, "--calibration", str(out)).stderr


def test_a_list_can_go_by_a_calibration_made_elsewhere(
    memscan: Memscan, run: str, tmp_path: Path
) -> None:
    other = synthetic_run(tmp_path / "other", seed=1)
    labels, out = synthetic_labels(tmp_path / "labels.csv"), str(tmp_path / "c.json")
    assert memscan("calibrate", other, "--labels", labels, "--out", out).returncode == 0
    both = str(tmp_path / "both.json")
    done = memscan("calibrate", run, "--calibration", out, "--fdr", "0.2", "--out", both, "--json")
    record = json.loads(done.stdout)["null"]
    assert record["signal"] == "combination"
    assert record["length"] > 30
    made = json.loads(Path(both).read_text())
    assert made["evaluation"].keys() >= {"combination", "null"}
    assert made["weights"] == json.loads(Path(out).read_text())["weights"]
    (start,) = [one for one in made["thresholds"] if one["signal"] == "combination"]
    assert start["false_positive_rate"] == record["p"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--labels", "missing.csv"), 1, "missing.csv"),
        (("--labels", "verdicts"), 1, "memscan verify"),
        (("--fdr", "0"), 2, "between 0 and 1"),
        (("--prevalence", "1.5", "--labels", "x.csv"), 2, "between 0 and 1"),
        (("--labels", "x.csv", "--by", "bos_mass"), 2, "--by is for lists without --labels"),
        (("--labels", "x.csv", "--null", "bulk"), 2, "--null is for lists without --labels"),
        (("--prevalence", "0.1"), 2, "needs --labels FILE"),
        (("--by", "n_tokens"), 1, "no signal of this run"),
        (("--calibration", "testbed"), 1, "different are: weights"),
        (("--calibration", "missing.json"), 1, "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    memscan: Memscan, run: str, arguments: tuple[str, ...], status: int, message: str
) -> None:
    done = memscan("calibrate", run, *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
