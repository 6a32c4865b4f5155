"""Similarities in place of labels, or beside them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from scanner.calibration import (
    LabeledCaptions,
    LabelEvaluation,
    Labels,
    SimilarityOptions,
    calibrate,
    evaluation_record,
    match_labels,
    read_evaluation,
    read_labels,
    write_calibration,
)
from scanner.calibration.evaluation.similarity import evaluate_similarity, similarity_thresholds
from scanner.calibration.statistics import bootstrap
from scanner.calibration.statistics.rank_correlation import rank_correlation
from scanner.errors import UserError
from scanner.query import RunTables, open_run
from tests.calibration.runs import synthetic_run, synthetic_similarities

pytestmark = pytest.mark.usefixtures("few_replicates")

Made = tuple[RunTables, LabeledCaptions]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("similarity")
    tables = open_run(synthetic_run(folder / "run"))
    labels = read_labels(synthetic_similarities(folder / "labels.csv"))
    return tables, match_labels(tables, labels)


@pytest.fixture(scope="module")
def evaluation(made: Made) -> LabelEvaluation:
    return calibrate(*made)[0]


@pytest.mark.parametrize("column", ["similarity", "SSCD", "max_sscd"])
def test_a_column_of_similarities_is_a_label(tmp_path: Path, column: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"key,{column}\n1,0.7\n2,.69\n3,\n4,1\n5,-0.004\n")
    found = read_labels(str(path))
    assert (found.names, found.memorized) == (["1", "2", "4", "5"], [True, False, True, False])
    assert (found.similarities, found.threshold) == ([0.7, 0.69, 1.0, 0.0], 0.7)
    assert found.unlabeled == 1
    lower = read_labels(str(path), similarity=SimilarityOptions(threshold=0.5))
    assert (lower.memorized, lower.threshold) == ([True, True, True, False], 0.5)


def test_labels_decide_unless_a_threshold_is_given(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("key,verdict,Mean\n1,template,0.2\n2,none,0.8\n3,verbatim,\n")
    found = read_labels(str(path), similarity=SimilarityOptions("mean"))
    assert (found.memorized, found.threshold) == ([True, False, True], None)
    assert found.similarities == [0.2, 0.8, None]
    assert found.classes == ["template", None, "verbatim"]
    found = read_labels(str(path), similarity=SimilarityOptions("mean", 0.5))
    assert (found.names, found.memorized, found.classes) == (["1", "2"], [False, True], [])


def test_a_similarity_beside_labels_must_be_named(tmp_path: Path) -> None:
    """LAION's column of that name is how similar an image and its caption are."""
    path = tmp_path / "labels.csv"
    path.write_text("key,memorized,similarity\n1,true,0.3\n2,false,31\n")
    assert read_labels(str(path)) == Labels("key", ["1", "2"], [True, False], [None] * 2)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("key,sscd\n1,high\n", {}, r"row 0 \(counting from 0\), sscd: 'high' is not a number"),
        ("key,sscd\n1,0.5\n2,nan\n", {}, r"row 1 .*'nan' is not a number; give one from 0 to 1"),
        ("key,sscd\n1,1.5\n", {}, r"a similarity of 1.5 is outside \[0, 1\]; divide percentages"),
        ("key,sscd\n1,-2\n", {}, r"a similarity of -2 is outside \[0, 1\]"),
        ("key,sscd\n1,\n", {}, "no row has a label; fill in the column sscd"),
        ("key,other\n1,1\n", {}, "no column with the label: .* or similarity or sscd or max_sscd"),
        ("key,sscd\n1,1\n", {"column": "ssim"}, "--similarity-column ssim: .* columns key, sscd"),
        (
            "key,label,similarity\n1,1,1\n",
            {"threshold": 0.5},
            "has labels, in the column label; --similarity-threshold needs similarities: name",
        ),
    ],
)
def test_an_invalid_similarity_is_refused_with_a_remedy(
    tmp_path: Path, text: str, options: dict, message: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_labels(str(path), similarity=SimilarityOptions(**options))


def test_a_caption_has_the_highest_of_its_similarities(made: Made) -> None:
    names, strengths = ["k0", "k0", "k1", "k2", "k2"], [0.2, 0.8, 0.6, 0.9, None]
    memorized = [False, True, False, True, False]
    labels = Labels("key", names, memorized, [None] * 5, similarities=strengths, threshold=0.7)
    found = match_labels(made[0], labels)
    captions = found.table["caption"].to_pylist()
    assert found.similarities is not None
    assert dict(zip(captions, found.similarities.tolist(), strict=True)) == {
        "Worda 0000": 0.8,
        "Wordb 0001": 0.6,
        "Wordc 0002": 0.9,
    }
    assert (found.memorized.sum(), found.contradicted) == (2, 0)
    everyone = replace(labels, threshold=0.95)
    with pytest.raises(
        UserError, match=r"usable captions \(3\) have a similarity below 0.95, from 0.6 to 0.9; set"
    ):
        match_labels(made[0], everyone)


def test_rank_correlation_matches_scipy_on_every_draw() -> None:
    random = np.random.default_rng(0)
    clusters, among = np.arange(120) // 3, np.arange(120) % 7 != 0
    scores = random.integers(0, 12, 120).astype(float)  # with ties
    strengths = np.round(scores / 20 + random.random(120) / 2, 1)
    found = rank_correlation(scores, strengths, clusters, among)
    assert found is not None
    assert found.rho == pytest.approx(spearmanr(scores[among], strengths[among]).statistic)
    draws = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=bootstrap.REPLICATES)
    rhos = []
    for draw in draws:
        rows = np.repeat(np.flatnonzero(among), draw[clusters[among]])
        rhos.append(spearmanr(scores[rows], strengths[rows]).statistic)
    low, high = np.quantile(rhos, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert rank_correlation(np.ones(120), strengths, clusters, among) is None


@pytest.mark.slow
def test_scores_are_compared_with_similarities(made: Made, evaluation: LabelEvaluation) -> None:
    labeled, found = made[1], evaluation.similarity
    assert found is not None
    assert labeled.similarities is not None
    assert (found.captions, found.class_threshold, evaluation.memorized) == (300, 0.7, 36)
    norm, mass = (
        labeled.table[name].to_numpy().astype(float) for name in ("noise_norm_first", "bos_mass")
    )
    for name, values in (("noise_norm_first", norm), ("bos_mass", -mass)):
        rho = spearmanr(values, labeled.similarities).statistic
        correlation = found.correlations[name]
        assert correlation is not None
        assert correlation.rho == pytest.approx(rho)
        assert correlation.low < rho < correlation.high
        for each in found.thresholds:
            similar = labeled.similarities >= each.threshold
            assert each.captions == similar.sum()
            assert each.separations[name].auc == pytest.approx(roc_auc_score(similar, values))
    assert {0.5, 0.7} < {each.threshold for each in found.thresholds}
    assert found.correlations.keys() >= {"combination", "attention_only", "text_combination"}


def test_quantiles_that_leave_twenty_captions_are_thresholds() -> None:
    similarities = np.arange(100) / 100
    assert similarity_thresholds(similarities, None) == [0.5, 0.7, 0.75]
    assert similarity_thresholds(similarities[:40], 0.3) == [0.2, 0.3, 0.5, 0.7]
    assert similarity_thresholds(np.zeros(100), None) == [0.5, 0.7]


def test_captions_without_a_similarity_are_left_out(made: Made) -> None:
    labeled = made[1]
    assert labeled.similarities is not None
    some = np.where(np.arange(300) % 2, labeled.similarities, np.nan)
    scores = {"n": np.arange(300.0)}
    found = evaluate_similarity(replace(labeled, similarities=some), scores, {"n": -1})
    assert found is not None
    assert (found.captions, found.clusters) == (150, 150)
    expected = spearmanr(-np.arange(300)[1::2], some[1::2]).statistic
    correlation = found.correlations["n"]
    assert correlation is not None
    assert correlation.rho == pytest.approx(expected)
    few = replace(labeled, similarities=np.where(some > 0.9, 0.1, some))
    last = evaluate_similarity(replace(few, threshold=0.89), scores, {})
    assert last is not None
    assert (last.thresholds[-1].threshold, last.thresholds[-1].separations) == (0.89, {})


@pytest.mark.slow
def test_the_file_keeps_the_comparison(
    made: Made, evaluation: LabelEvaluation, tmp_path: Path
) -> None:
    path = str(tmp_path / "calibration.json")
    write_calibration(path, calibrate(*made)[1], evaluation_record(evaluation))
    record = read_evaluation(path)
    assert record is not None
    assert (
        record["similarity"] == json.loads(json.dumps(evaluation_record(evaluation)))["similarity"]
    )
    assert record["similarity"]["class_threshold"] == 0.7
    assert record["similarity"]["correlations"]["bos_mass"]["rho"] > 0
