import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scanner.calibration import (
    calibrate,
    evaluation_record,
    match_labels,
    read_calibration,
    read_labels,
    write_calibration,
)
from scanner.calibration.combination import fit
from scanner.calibration.features import (
    ATTENTION_SIGNALS,
    combination_inputs,
    feature_matrix,
    is_attention_signal,
)
from scanner.errors import UserError
from scanner.query import open_run
from scanner.scoring.catalog import AT_ANY_LEVEL, SIGNALS
from scanner.signals.noise_level import FIRST, LOW
from tests.calibration.runs import FINGERPRINT, SCORES, synthetic_labels, synthetic_run

pytestmark = pytest.mark.usefixtures("few_replicates")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("calibrate")
    run = synthetic_run(folder / "run")
    tables = open_run(run)
    labeled = match_labels(tables, read_labels(synthetic_labels(folder / "labels.csv")))
    evaluation, calibration = calibrate(tables, labeled, prevalence=0.01)
    path = str(folder / "calibration.json")
    write_calibration(path, calibration, evaluation_record(evaluation))
    return {"run": run, "labeled": labeled, "evaluation": evaluation, "path": path}


def test_only_signals_and_their_layers_are_combined() -> None:
    assert combination_inputs(SCORES) == ["noise_norm_first", "bos_mass", "entropy_layers"]
    attention = [make(level) for make in AT_ANY_LEVEL.values() for level in (FIRST, LOW, 81)]
    names = {one.name for one in attention if one.needs.attention and one.memorized}
    assert len(names) == 3 * len(ATTENTION_SIGNALS)
    assert names == {each + level for each in ATTENTION_SIGNALS for level in ("", "_low", "_81")}
    assert all(map(is_attention_signal, names))
    others = [one.name for one in SIGNALS.values() if not one.needs.attention]
    assert not any(map(is_attention_signal, [*others, "token_mass"]))


@pytest.mark.slow
def test_the_combination_is_compared_with_signals_and_baselines(made: dict) -> None:
    found = made["evaluation"]
    best = found.signals[found.best_signal]
    assert found.best_signal == "noise_norm_first"
    assert found.signals["bos_mass"].auc > 0.6  # in its direction: lower is memorized
    assert found.combination.auc > best.auc
    assert found.gains["noise_norm_first"].low > 0
    assert 0.6 < found.attention_only.auc < found.combination.auc
    assert found.text_only.keys() >= {"n_tokens", "n_samples", "text_combination"}
    assert abs(found.text_only["text_combination"].auc - 0.5) < 0.2
    assert (found.captions, found.memorized, found.references) == (300, 60, 100)
    assert found.fdr_checks.keys() == {"noise_norm_first", "combination"}


@pytest.mark.slow
def test_sql_gives_the_odds_that_were_fitted_under_the_prior(made: dict) -> None:
    """The file's weights in SQL give the log odds of scikit-learn's model, shifted to a prior of
    1 %."""
    labeled = made["labeled"]
    values, _ = feature_matrix(labeled.table, combination_inputs(SCORES))
    expected = fit(values, labeled.memorized, labeled.clusters)(values)
    expected += np.log(0.01 / 0.99) - np.log(60 / 240)
    tables = open_run(made["run"], calibration=read_calibration(made["path"]))
    rows = tables.query("SELECT * FROM ranked ORDER BY caption_id")
    assert set(rows["rank_signal"].to_pylist()) == {"combination"}
    np.testing.assert_allclose(rows["rank_score"], expected[~labeled.is_reference], rtol=1e-9)
    np.testing.assert_allclose(
        rows["probability"], 1 / (1 + np.exp(-expected[~labeled.is_reference])), rtol=1e-9
    )
    reference = tables.reference_rank_scores()
    expected_reference = np.sort(expected[labeled.is_reference])
    np.testing.assert_allclose(np.sort(reference), expected_reference, rtol=1e-9)


@pytest.mark.slow
def test_thresholds_keep_the_false_positive_rate(made: dict) -> None:
    tables = open_run(made["run"], calibration=read_calibration(made["path"]))
    rows = {row["signal"]: row for row in tables.query("FROM thresholds").to_pylist()}
    assert rows.keys() == {"noise_norm_first", "bos_mass", "combination"}
    table, known = made["labeled"].table, made["labeled"].memorized
    norm, mass = (table[name].to_numpy() for name in ("noise_norm_first", "bos_mass"))
    assert rows["noise_norm_first"]["higher"]
    assert not rows["bos_mass"]["higher"]
    # 1 % of 240 negatives: two, not three
    assert (norm[~known] >= rows["noise_norm_first"]["threshold"]).sum() == 2
    assert (mass[~known] <= rows["bos_mass"]["threshold"]).sum() == 2


def test_reliability_is_weighted_to_the_prior(made: dict) -> None:
    found = made["evaluation"]
    assert found.prior == 0.01
    assert sum(one.captions for one in found.reliability) == 300
    assert found.reliability[0].predicted < 0.01
    assert found.reliability[0].captions > 150


def test_ranking_by_a_signal_keeps_the_probability(made: dict) -> None:
    tables = open_run(made["run"], calibration=read_calibration(made["path"]))
    assert tables.rank_by("bos_mass") == "bos_mass"
    (row,) = tables.query("SELECT * FROM ranked LIMIT 1").to_pylist()
    assert row["rank_score"] == -row["bos_mass"]
    assert 0 < row["probability"] < 1
    assert tables.rank_by() == "combination"


def test_without_a_calibration_there_is_no_probability(made: dict) -> None:
    tables = open_run(made["run"])
    found = tables.query("SELECT count(*) AS n, count(probability) AS p FROM ranked").to_pylist()
    assert found == [{"n": 200, "p": 0}]
    assert tables.query("FROM thresholds").num_rows == 0
    with pytest.raises(UserError, match="combination needs --calibration"):
        tables.rank_by("combination")


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": "other"},
        {"signals_version": 2},
        {"signals": ["noise_norm_first", "bos_mass"]},
        {"seeds": 4},
        {"steps": 20},
        {"guidance": 5.0},
        {"latent_shape": [4, 16, 16]},
    ],
)
def test_a_run_with_other_settings_is_refused_naming_them(
    made: dict, changed: dict, tmp_path: Path
) -> None:
    other = synthetic_run(tmp_path / "run", captions=30, **changed)
    ((name, value),) = changed.items()
    shown = (
        " ".join(sorted(value)) if name == "signals" else str(value).strip("[]").replace(",", "")
    )
    with pytest.raises(UserError, match=f"these differ: {name} .* in the calibration, {shown}"):
        open_run(other, calibration=read_calibration(made["path"]))


def test_dtype_and_order_of_signals_do_not_invalidate_it(made: dict, tmp_path: Path) -> None:
    signals = FINGERPRINT["signals"][::-1]
    other = synthetic_run(tmp_path / "r", captions=30, dtype="float16", signals=signals, id="g")
    tables = open_run(other, calibration=read_calibration(made["path"]))
    rows = tables.query("SELECT * FROM ranked").to_pylist()
    memorized = [int(row["caption"].split()[1]) < 6 for row in rows]
    assert roc_auc_score(memorized, [row["probability"] for row in rows]) > 0.9


def test_an_unusable_file_is_refused_with_the_reason(made: dict, tmp_path: Path) -> None:
    record = json.loads(Path(made["path"]).read_text())
    path = tmp_path / "c.json"

    def refused(text: str, message: str) -> None:
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_calibration(str(path))

    refused("not json", "damaged")
    refused("{}", "not a calibration file; create one with memscan calibrate")
    refused(json.dumps(record | {"version": 2}), "calibration file version 2")
    refused(json.dumps(record | {"weights": {"bos_mass": ["a"]}}), "damaged")
    refused(json.dumps(record | {"thresholds": [{"signal": 1}]}), "damaged")
    with pytest.raises(UserError, match="cannot be read"):
        read_calibration(str(tmp_path / "missing.json"))
    path.write_text(json.dumps(record | {"weights": {'x" FROM scores; --': [1.0]}}))
    with pytest.raises(UserError, match="no column"):
        open_run(made["run"], calibration=read_calibration(str(path)))


@pytest.mark.slow
def test_a_refuted_direction_gets_no_threshold(tmp_path: Path) -> None:
    """bos_mass, lower if memorized in these data, is declared higher."""
    tables = open_run(synthetic_run(tmp_path / "run", directions={"bos_mass": "higher"}))
    labeled = match_labels(tables, read_labels(synthetic_labels(tmp_path / "labels.csv")))
    evaluation, calibration = calibrate(tables, labeled)
    assert evaluation.signals["bos_mass"].auc_high < 0.5
    assert evaluation.reversed_signals == {"bos_mass": evaluation.signals["bos_mass"]}
    assert {one.signal for one in calibration.thresholds} == {"noise_norm_first", "combination"}
    record = evaluation_record(evaluation)
    assert record["signals"]["bos_mass"]["auc"] == evaluation.signals["bos_mass"].auc
    assert "bos_mass" in calibration.weights  # the combination learns the sign


@pytest.mark.slow
def test_too_few_or_random_labels_are_refused(made: dict) -> None:
    tables, labeled = open_run(made["run"]), made["labeled"]
    with pytest.raises(UserError, match="cannot resolve a rate below"):
        calibrate(tables, labeled, fpr=0.001)
    shuffled = np.random.default_rng(0).permutation(labeled.memorized)
    with pytest.raises(UserError, match="no better than chance"):
        calibrate(tables, replace(labeled, memorized=shuffled))
