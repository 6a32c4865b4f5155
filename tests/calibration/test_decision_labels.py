"""Labels of reviewers: weights by sampling probability, precision at depth, the weighted fit."""

from pathlib import Path

import numpy as np
import pytest

from scanner.calibration import decision_labels, match_labels, reviewed_precision
from scanner.calibration.combination import cross_fit, fit
from scanner.calibration.evaluation.reviewed_precision import precision_at_depths
from scanner.calibration.evaluation.separation import separation, threshold_at_fpr
from scanner.calibration.probability import prior_shift
from scanner.errors import UserError
from scanner.query import RunTables, open_run
from scanner.run.decision_log import DecisionLog
from scanner.run.decisions import Change, Entry, Statement
from scanner.storage import Store
from tests.query.runs import make_run


def reviewed_run(folder: Path, statements: list[tuple[str, str, str, float | None]]) -> RunTables:
    """A run whose captions were labeled: reviewer, caption id, label, sampling probability."""
    rows = [
        {"caption_id": f"{n:02}", "caption": f"caption {n} w{n}", "noise_norm_first": 50.0 - n}
        for n in range(30)
    ]
    log = DecisionLog(Store(make_run(folder / "run", rows)))
    for reviewer, caption_id, label, probability in statements:
        log.append(Entry(reviewer, (Change(Statement(label), {caption_id: probability}),)))
    return open_run(str(folder / "run"))


@pytest.mark.slow
def test_labels_weigh_what_they_represent(tmp_path: Path) -> None:
    tables = reviewed_run(
        tmp_path,
        [
            *(("ann", "00", "verbatim", None), ("ann", "10", "none", 0.1)),
            *(("bob", "10", "none", None), ("ann", "11", "unsure", 0.1)),
            *(("ann", "12", "template", 0.5), ("bob", "12", "none", 0.5)),
        ],
    )
    labels = decision_labels(tables)
    assert (labels.names, labels.unlabeled) == (["00", "10", "10", "12", "12"], 1)
    assert labels.weights == [1.0, 10.0, 10.0, 2.0, 2.0]
    labeled = match_labels(tables, labels)
    assert labeled.table["caption_id"].to_pylist() == ["00", "10"]
    assert labeled.contradicted == 1
    assert labeled.weights is not None
    np.testing.assert_allclose(labeled.weights, [2 / 11, 20 / 11])
    (depth,) = [row for row in reviewed_precision(tables) if row.depth == 10]
    assert (depth.reviewed, depth.drawn, depth.memorized, depth.precision) == (1, 0, 1, None)


def test_nobody_s_labels_are_an_error(tmp_path: Path) -> None:
    tables = reviewed_run(tmp_path, [("ann", "11", "unsure", None)])
    with pytest.raises(UserError, match=r"nobody has labeled .* run memscan review"):
        decision_labels(tables)


@pytest.mark.slow
def test_weights_count_as_copies() -> None:
    random = np.random.default_rng(0)
    known = random.random(200) < 0.4
    values = random.normal(size=(200, 2)) + known[:, None]
    weights = random.integers(1, 4, 200).astype(float)
    rows = np.repeat(np.arange(200), weights.astype(int))
    groups = np.arange(200)
    weighted = fit(values, known, groups, weights)
    copied = fit(values[rows], known[rows], groups[rows])
    np.testing.assert_allclose(weighted.weights, copied.weights, rtol=0.05)
    scores = values[:, 0]
    assert separation(scores, known, groups, weights=weights).auc == pytest.approx(
        separation(scores[rows], known[rows], groups[rows]).auc
    )
    assert threshold_at_fpr(scores, known, 0.1, weights=weights) == threshold_at_fpr(
        scores[rows], known[rows], 0.1
    )
    assert prior_shift(known, 0.1, weights) == pytest.approx(prior_shift(known[rows], 0.1))
    ones = cross_fit(values, known, groups, np.ones(200))
    np.testing.assert_allclose(ones, cross_fit(values, known, groups), rtol=1e-6)


def test_precision_of_a_stratified_sample_is_unbiased() -> None:
    """The top is oversampled: the plain share overestimates, the weighted one does not."""
    random = np.random.default_rng(1)
    truth = np.where(np.arange(5000) < 100, 0.9, 0.05) > random.random(5000)
    estimates, covered = [], 0
    for _ in range(200):
        drawn = [*random.choice(100, 50, False), *(100 + random.choice(4900, 98, False))]
        rows = [
            (int(n) + 1, "verbatim" if truth[n] else "none", 0.5 if n < 100 else 0.02)
            for n in drawn
        ]
        rows.append((5000, "none", None))  # chosen, not drawn
        last = precision_at_depths(rows)[-1]
        assert last.depth == 5000
        assert last.low is not None
        assert last.precision is not None
        assert last.high is not None
        estimates.append(last.precision)
        covered += last.low <= truth.mean() <= last.high
    assert np.mean(estimates) == pytest.approx(truth.mean(), abs=0.004)
    assert 0.9 <= covered / 200 <= 1


def test_precision_is_exact_where_all_is_labeled() -> None:
    rows = [(place, "template" if place < 4 else "none", None) for place in range(1, 11)]
    (first,) = precision_at_depths(rows)
    assert (first.precision, first.low, first.high) == (0.3, 0.3, 0.3)
    assert precision_at_depths([]) == []
