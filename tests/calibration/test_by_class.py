"""Verbatim and template copies, each measured against the captions that are not memorized."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scanner.calibration import (
    LabeledCaptions,
    LabelEvaluation,
    calibrate,
    evaluation_record,
    match_labels,
    read_evaluation,
    read_labels,
    write_calibration,
)
from scanner.calibration.evaluation.by_class import evaluate_classes
from scanner.calibration.evaluation.separation import separation
from scanner.calibration.statistics import bootstrap
from scanner.query import open_run
from scanner.testbed import files
from tests.calibration.runs import synthetic_labels, synthetic_run

pytestmark = pytest.mark.usefixtures("few_replicates")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabeledCaptions, LabelEvaluation, str]:
    folder = tmp_path_factory.mktemp("classes")
    tables = open_run(synthetic_run(folder / "run"))
    labels = read_labels(synthetic_labels(folder / "labels.csv", classes=True))
    labeled = match_labels(tables, labels)
    evaluation, calibration = calibrate(tables, labeled)
    path = str(folder / "calibration.json")
    write_calibration(path, calibration, evaluation_record(evaluation))
    return labeled, evaluation, path


@pytest.mark.slow
def test_each_class_is_compared_with_what_is_not_memorized(
    made: tuple[LabeledCaptions, LabelEvaluation, str],
) -> None:
    labeled, evaluation, _ = made
    assert list(evaluation.classes) == ["verbatim", "template"]
    assert [each.captions for each in evaluation.classes.values()] == [40, 20]
    norm = labeled.table["noise_norm_first"].to_numpy().astype(float)
    mass = labeled.table["bos_mass"].to_numpy().astype(float)
    for kind, each in evaluation.classes.items():
        chosen = (labeled.classes == kind) | ~labeled.memorized
        known, found = labeled.memorized[chosen], each.separations
        assert found["noise_norm_first"].auc == pytest.approx(roc_auc_score(known, norm[chosen]))
        assert found["bos_mass"].auc == pytest.approx(roc_auc_score(known, -mass[chosen]))
        threshold = np.sort(norm[~labeled.memorized])[-3]  # 1 % of 240 is two captions
        tpr = (norm[chosen][known] > threshold).mean()
        assert found["noise_norm_first"].at_fpr[0.01].tpr == pytest.approx(tpr)
        names = {"combination", "attention_only", "text_combination", "n_samples", "bos_mass"}
        assert found.keys() >= names


@pytest.mark.slow
def test_a_class_is_measured_on_the_draws_of_the_whole_set() -> None:
    """With every caption that is memorized in the class, the result is that of the whole set."""
    random = np.random.default_rng(0)
    positive, clusters = np.arange(200) < 50, np.arange(200) // 2
    scores = random.normal(size=200) + positive
    whole = separation(scores, positive, clusters)
    assert separation(scores, positive, clusters, among=np.ones(200, bool)) == whole
    half = separation(scores, positive, clusters, among=np.arange(200) >= 25)
    draws = np.random.default_rng(0).multinomial(100, np.full(100, 0.01), size=bootstrap.REPLICATES)
    aucs = [
        roc_auc_score(positive[25:], scores[25:], sample_weight=draw[clusters][25:])
        for draw in draws
    ]
    low, high = np.quantile(aucs, [0.025, 0.975])
    assert (half.auc_low, half.auc_high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.slow
def test_a_class_of_few_clusters_is_only_counted(
    made: tuple[LabeledCaptions, LabelEvaluation, str],
) -> None:
    labeled = made[0]
    few = labeled.classes.copy()
    few[np.flatnonzero(few == "template")[9:]] = ""
    found = evaluate_classes(
        LabeledCaptions(labeled.table, labeled.memorized, labeled.clusters, few, 0, 0),
        {"n": np.arange(300.0)},
        {},
    )
    assert (found["template"].captions, found["template"].separations) == (9, {})
    assert found["verbatim"].separations.keys() == {"n"}


@pytest.mark.slow
def test_the_file_keeps_each_class(made: tuple[LabeledCaptions, LabelEvaluation, str]) -> None:
    _, evaluation, path = made
    record = read_evaluation(path)
    assert record is not None
    assert record["classes"]["template"]["captions"] == 20
    verbatim = record["text_only"]["text_combination"]["verbatim"]
    expected = evaluation.classes["verbatim"].separations["text_combination"]
    assert verbatim["auc"] == expected.auc
    assert verbatim["tpr_interval_at"]["0.01"][1] == expected.at_fpr[0.01].tpr_high
    assert record["combination"]["template"]["auc"] > 0.8


def test_a_file_without_classes_stays_readable() -> None:
    for testbed in files.TESTBEDS.values():
        evaluation = read_evaluation(str(testbed.calibration))
        assert evaluation is not None
        stored = json.loads(Path(testbed.calibration).read_text())["evaluation"]
        assert evaluation["signals"].keys() == stored["signals"].keys()
