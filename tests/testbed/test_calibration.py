"""Calibration on a model that has memorized part of its training set."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import roc_auc_score

from scanner.calibration import (
    LabeledCaptions,
    LabelEvaluation,
    Labels,
    calibrate,
    match_labels,
    read_calibration,
)
from scanner.models import load_model
from scanner.query import open_run
from scanner.scoring import Scorer
from scanner.testbed import files, labels
from tests.calibration.runs import write_run

# They read a scan of the testbed.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_replicates")]

GROUP_SIZES = {"memorized": 45, "template": 30, "repeated": 15, "once": 60, "heldout": 150}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a run with captions of every group; the held-out ones are the references."""
    table = labels()
    chosen = [row for group, count in GROUP_SIZES.items() for row in _rows(table, group)[:count]]
    captions = [row["caption"] for row in chosen]
    scorer = Scorer(load_model("testbed"))
    reference = np.array([row["group"] == "heldout" for row in chosen])
    folder = tmp_path_factory.mktemp("testbed") / "run"
    return write_run(folder, captions, scorer.score(captions), reference, scorer.fingerprint)


def _rows(table: pa.Table, group: str) -> list[dict]:
    return table.filter(pc.equal(table["group"], group)).to_pylist()


@pytest.fixture(scope="module")
def labeled(run: str) -> LabeledCaptions:
    return match_labels(open_run(run), Labels.from_table(labels()))


@pytest.fixture(scope="module")
def evaluation(run: str, labeled: LabeledCaptions) -> LabelEvaluation:
    return calibrate(open_run(run), labeled)[0]


def test_the_combination_is_as_good_as_the_best_signal(evaluation: LabelEvaluation) -> None:
    """Within the interval, since these are few captions; memscan demo evaluates all."""
    assert evaluation.gains[str(evaluation.best_signal)].high >= 0
    assert evaluation.combination.auc > 0.95
    assert evaluation.attention_only is not None
    assert evaluation.attention_only.auc > 0.95


def test_text_features_do_not_predict_the_labels(evaluation: LabelEvaluation) -> None:
    assert evaluation.text_only["text_combination"].auc < 0.65
    assert evaluation.gains["text_combination"].low > 0.3


def test_the_realized_fdr_stays_below_the_target(
    evaluation: LabelEvaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held-out captions are exchangeable with each other, so the FDR is at most q · m₀ / m, and
    close to it where a selection is possible (Benjamini and Hochberg). Trained captions that are
    not memorized score no higher in this model, so they do not raise it."""
    for name, checks in evaluation.fdr_checks.items():
        for check in checks:
            bound = check.target * check.exchangeable.null_share
            with capsys.disabled():
                print(f"\n{name}: at most {bound:.3f}, got {check.exchangeable.fdr:.3f}", end="")
            assert check.exchangeable.fdr <= bound + 0.015
            assert check.all.fdr <= check.target
        assert checks[-1].exchangeable.fdr > bound / 2
        assert checks[-1].exchangeable.tpr > 0.8


def test_the_packaged_calibration_matches_the_testbed(run: str) -> None:
    tables = open_run(run, calibration=read_calibration(str(files.TESTBEDS["testbed"].calibration)))
    rows = tables.query("SELECT caption, probability FROM ranked").to_pylist()
    truth = {row["caption"]: row["memorized"] for row in labels().to_pylist()}
    known = np.array([truth[row["caption"]] for row in rows])
    probability = np.array([row["probability"] for row in rows])
    assert roc_auc_score(known, probability) > 0.98
    assert probability[known].mean() > 0.8
    assert probability[~known].mean() < 0.1


def test_the_packaged_calibration_covers_all_captions() -> None:
    """Of all 1,346 captions, as the README says."""
    evaluation = json.loads(Path(files.TESTBEDS["testbed"].calibration).read_text())["evaluation"]
    counts = evaluation["captions"], evaluation["memorized"], evaluation["references"]
    assert counts == (1346, 132, 520)
