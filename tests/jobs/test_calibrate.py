"""memscan calibrate, run in this process because loading the libraries takes seconds."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from tests.calibration.runs import synthetic_labels, synthetic_run, synthetic_similarities
from tests.sealed import seal_run

pytestmark = pytest.mark.usefixtures("few_replicates")


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


def test_a_calibration_fitted_on_labels_ranks(memscan: Memscan, run: str, tmp_path: Path) -> None:
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
    query = "SELECT count(*) AS n FROM ranked JOIN thresholds ON signal = rank_signal"
    above = f"{query} WHERE rank_value >= threshold"
    (row,) = json.loads(memscan("sql", run, above, "--calibration", str(out), "--json").stdout)
    assert 30 < row["n"] < 70


def test_the_text_output_has_the_same_figures(memscan: Memscan, run: str, tmp_path: Path) -> None:
    labels = synthetic_labels(tmp_path / "labels.csv")
    with Path(labels).open("a") as file:
        file.write("a caption of another run,true\n")
    done = memscan("calibrate", run, "--labels", labels, "--prevalence", "0.001")
    assert done.returncode == 0, done.stderr
    for part in (
        "300 labeled captions, 60 of them memorized",
        "attention_only",
        "AUC gained by the combination over",
        "if 0.10% of the captions are memorized (as given)",
        "target q",
        "nothing written",
    ):
        assert part in done.stdout
    unknown = (
        "1 label matches no caption that this run has scored, such as 'a caption of another run'"
    )
    assert unknown in done.stderr
    record = json.loads(memscan("calibrate", run, "--labels", labels, "--json").stdout)
    rate = record["combination"]["tpr_at"]["0.01"]
    assert f"combination of signals flags {rate:.0%} of the memorized ones" in done.stdout


def test_a_contradicted_direction_is_reported_with_its_auc(
    memscan: Memscan, tmp_path: Path
) -> None:
    run = synthetic_run(tmp_path / "run", directions={"bos_mass": "higher"})
    labels = synthetic_labels(tmp_path / "labels.csv")
    done = memscan("calibrate", run, "--labels", labels, "--json")
    found = json.loads(done.stdout)["signals"]["bos_mass"]
    interval = f"{found['auc_low']:.3f} – {found['auc_high']:.3f}"
    warning = (
        "bos_mass: labels contradict the documented direction "
        f"(AUC {found['auc']:.3f}, 95 % interval {interval}); no threshold is given"
    )
    assert warning in done.stderr
    assert "noise_norm_first: labels contradict" not in done.stderr
    shown = memscan("calibrate", run, "--labels", labels)
    assert warning in shown.stderr
    _, _, thresholds = shown.stdout.partition("\nthresholds\n")
    assert "noise_norm_first" in thresholds
    assert "bos_mass" not in thresholds


def test_copies_of_each_class_are_reported_apart(
    memscan: Memscan, run: str, tmp_path: Path
) -> None:
    labels = synthetic_labels(tmp_path / "labels.csv", classes=True)
    shown = memscan("calibrate", run, "--labels", labels).stdout
    table = shown.partition("by class, against the captions that are not memorized\n")[2]
    verbatim, _, template = table.partition("template: 20 captions in 20 clusters\n")
    assert "verbatim: 40 captions in 40 clusters\n" in verbatim
    record = json.loads(memscan("calibrate", run, "--labels", labels, "--json").stdout)
    for kind, part in (("verbatim", verbatim), ("template", template)):
        for one in (record["signals"]["bos_mass"], record["text_only"]["text_combination"]):
            assert f"{one[kind]['auc']:.3f}   {one[kind]['auc_low']:.3f} – " in part
    plain = synthetic_labels(tmp_path / "plain.csv")
    assert "by class" not in memscan("calibrate", run, "--labels", plain).stdout


def test_similarities_take_the_place_of_labels(memscan: Memscan, run: str, tmp_path: Path) -> None:
    labels = synthetic_similarities(tmp_path / "labels.csv", column="sscd")
    done = memscan("calibrate", run, "--labels", labels)
    assert "captions with a similarity of at least 0.7 count as memorized" in done.stderr
    assert "36 of them memorized (similarity ≥ 0.7)" in done.stdout
    assert "by similarity, on 300 captions in 300 clusters: Spearman's" in done.stdout
    _, _, similar = done.stdout.partition("similarity ≥ 0.7: 36 captions in 36 clusters\n")
    named = ("--labels", labels, "--similarity-column", "sscd", "--similarity-threshold", "0.5")
    done = memscan("calibrate", run, *named, "--json")
    assert "count as memorized" not in done.stderr
    record = json.loads(done.stdout)
    assert (record["memorized"], record["similarity"]["class_threshold"]) == (60, 0.5)
    found = record["similarity"]["correlations"]["noise_norm_first"]
    assert 0 < found["low"] < found["rho"] < found["high"]
    (at,) = [each for each in record["similarity"]["thresholds"] if each["threshold"] == 0.7]
    auc = at["scores"]["noise_norm_first"]
    shown = f"{auc['auc']:.3f}   {auc['auc_low']:.3f} – {auc['auc_high']:.3f}"
    assert f"  noise_norm_first         {shown} " in similar
    low = memscan("calibrate", run, "--labels", labels, "--similarity-threshold", "0.999")
    assert low.returncode == 1
    assert "have a similarity below 0.999, from 0 to 0.9917; set --similarity" in low.stderr


def test_without_labels_captions_are_selected_at_an_fdr(
    memscan: Memscan, run: str, tmp_path: Path
) -> None:
    record = json.loads(memscan("calibrate", run, "--fdr", "0.2", "--json").stdout)["null"]
    assert (record["null"], record["null_captions"], record["smallest"]) == ("reference", 100, 10)
    assert record["expected_false"] <= 0.2 * record["length"]
    out = tmp_path / "list.json"
    shown = memscan("calibrate", run, "--fdr", "0.2", "--out", str(out)).stdout
    assert "exchangeable" in shown
    assert "shortest selection possible with these captions: 10" in shown
    query = "SELECT count(*) AS n FROM ranked, thresholds WHERE noise_norm_first >= threshold"
    (row,) = json.loads(memscan("sql", run, query, "--calibration", str(out), "--json").stdout)
    assert row["n"] == record["length"]
    bulk = memscan("calibrate", run, "--null", "bulk").stdout
    assert "compared with a normal distribution fitted to the run's own scores" in bulk
    assert "holds only if the assumption does" in bulk
    assert "expected false discoveries" not in bulk


def test_a_reference_caption_in_the_training_set_is_excluded(
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
    assert "1 reference captions excluded: they are also in the training set" in done.stderr


def test_labels_that_differ_in_style_cause_a_warning(
    memscan: Memscan, run: str, tmp_path: Path
) -> None:
    labels, out = synthetic_labels(tmp_path / "labels.csv"), tmp_path / "c.json"
    warning = "differ in style"
    assert warning not in memscan("calibrate", run, "--labels", labels, "--out", str(out)).stderr
    assert warning not in memscan("rank", run, "--calibration", str(out)).stderr
    made = json.loads(out.read_text())
    made["evaluation"]["gains"]["text_combination"]["low"] = -0.01
    made["evaluation"]["text_only"]["text_combination"]["auc_low"] = 0.4
    out.write_text(json.dumps(made))
    errors = memscan("rank", run, "--calibration", str(out)).stderr
    assert warning not in errors, "text features at chance are no sign of style"
    made["evaluation"]["text_only"]["text_combination"]["auc_low"] = 0.6
    out.write_text(json.dumps(made))
    assert f"{out}: text features alone" in memscan("rank", run, "--calibration", str(out)).stderr


def test_a_selection_can_use_a_calibration_of_another_run(
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
    (threshold,) = [row for row in made["thresholds"] if row["signal"] == "combination"]
    assert threshold["false_positive_rate"] == record["p"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--labels", "missing.csv"), 1, "missing.csv"),
        (("--labels", "verdicts"), 1, "memscan verify"),
        (("--fdr", "0"), 2, "between 0 and 1"),
        (("--prevalence", "1.5", "--labels", "x.csv"), 2, "between 0 and 1"),
        (("--labels", "x.csv", "--by", "bos_mass"), 2, "--by cannot be used with --labels"),
        (("--labels", "x.csv", "--null", "bulk"), 2, "--null cannot be used with --labels"),
        (("--prevalence", "0.1"), 2, "needs --labels FILE"),
        (("--fpr", "0.05"), 2, "--fpr needs --labels FILE"),
        (("--fpr", "0.05", "--memorized", "missing.txt"), 1, "missing.txt"),
        (("--similarity-column", "sscd"), 2, "--similarity-column needs --labels FILE"),
        (("--similarity-threshold", "7", "--labels", "x"), 2, "must be between 0 and 1"),
        (("--by", "n_tokens"), 1, "this run has no such signal"),
        (("--calibration", "testbed"), 1, "these differ: weights"),
        (("--calibration", "missing.json"), 1, "cannot be read"),
    ],
)
def test_an_invalid_request_is_a_one_line_error(
    memscan: Memscan, run: str, arguments: tuple[str, ...], status: int, message: str
) -> None:
    done = memscan("calibrate", run, *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
