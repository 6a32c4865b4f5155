"""What calibration promises, on a model that has truly memorized."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import roc_auc_score

from scanner.calibration import Findings, Labelled, Labels, calibrate, match, read_calibration
from scanner.models import load_model
from scanner.query import open_run
from scanner.scoring import Scorer
from scanner.testbed import files, labels
from tests.calibration.runs import write_run

TAKEN = {"memorized": 45, "template": 30, "repeated": 15, "once": 60, "heldout": 150}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of captions of every group, the held-out ones as its references."""
    table = labels()
    chosen = [row for group, count in TAKEN.items() for row in _rows(table, group)[:count]]
    captions = [row["caption"] for row in chosen]
    scorer = Scorer(load_model("testbed"))
    reference = np.array([row["group"] == "heldout" for row in chosen])
    folder = tmp_path_factory.mktemp("testbed") / "run"
    return write_run(folder, captions, scorer.score(captions), reference, scorer.fingerprint)


def _rows(table: pa.Table, group: str) -> list[dict]:
    return table.filter(pc.equal(table["group"], group)).to_pylist()


@pytest.fixture(scope="module")
def labelled(run: str) -> Labelled:
    return match(open_run(run), Labels.of(labels()))


@pytest.fixture(scope="module")
def found(run: str, labelled: Labelled) -> Findings:
    return calibrate(open_run(run), labelled)[0]


def test_the_combination_is_no_worse_than_the_best_signal(found: Findings) -> None:
    """Within the interval; memscan demo says it of all captions, these are few."""
    assert found.gains[str(found.best_signal)].high >= 0
    assert found.combination.auc > 0.95
    assert found.attention_only is not None
    assert found.attention_only.auc > 0.95


def test_the_text_alone_tells_nothing(found: Findings) -> None:
    assert found.text_only["text_combination"].auc < 0.65
    assert found.gains["text_combination"].low > 0.3


def test_the_promised_false_discovery_rate_is_found(
    found: Findings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held-out captions are exchangeable with held-out ones: the rate is at most q · m₀ / m then
    (Benjamini and Hochberg), and near it where lists are possible. What was trained and is not
    memorized scores no higher in this model, so with it the list is no wronger than promised."""
    for name, promises in found.promises.items():
        for one in promises:
            bound = one.promised * one.exchangeable.others
            with capsys.disabled():
                print(f"\n{name}: promised {bound:.3f}, found {one.exchangeable.found:.3f}", end="")
            assert one.exchangeable.found <= bound + 0.015
            assert one.all.found <= one.promised
        assert promises[-1].exchangeable.found > bound / 2
        assert promises[-1].exchangeable.caught > 0.8


def test_the_calibration_that_ships_fits_the_model_and_ranks(run: str) -> None:
    tables = open_run(run, calibration=read_calibration(str(files.CALIBRATION)))
    rows = tables.query("SELECT caption, probability FROM ranked").to_pylist()
    truth = {row["caption"]: row["memorized"] for row in labels().to_pylist()}
    known = np.array([truth[row["caption"]] for row in rows])
    probability = np.array([row["probability"] for row in rows])
    assert roc_auc_score(known, probability) > 0.98
    assert probability[known].mean() > 0.8
    assert probability[~known].mean() < 0.1


def test_what_ships_is_what_its_command_made() -> None:
    """README: of all 1,346 captions."""
    made = json.loads(Path(files.CALIBRATION).read_text())["evaluation"]
    assert (made["captions"], made["memorized"], made["references"]) == (1346, 132, 520)
