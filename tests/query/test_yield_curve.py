"""How many captions a scan has flagged so far, and what it may still flag."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.status import main as status_command
from scanner.errors import UserError
from scanner.query import Calibration, SignalThreshold, binding_of
from scanner.query.yield_curve import TierYield, YieldCurve, _left, measure_yield
from scanner.run import Output, Run, Slice, Tier
from scanner.run.schema import CAPTIONS, samples_schema, write_part
from scanner.storage import Store
from tests.curation.runs import SCORES
from tests.run.planned import plan_of

ROWS = 100
TIERS = (Tier("repeated", 2), Tier("others", 4))


def _ids(number: int) -> list[str]:
    return [f"{number:04x}{row:028x}" for row in range(ROWS)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A planned run of six slices in two tiers; nothing is scored."""
    run = Run(Store(str(tmp_path / "run")))
    run.begin({"inputs": {"limit": None}, "fingerprint": {"id": "f"}})
    slices = []
    for number in range(6):
        ids = _ids(number)
        captions = pa.table([ids, ids, ids, [False] * ROWS], schema=CAPTIONS)
        path = write_part(run.store, "captions", str(number), captions).path
        slices.append(Slice(f"{number:06d}", path, ids[0], ids[-1], ROWS, 0))
    rows = [
        {"caption_id": name, "source": "a.csv", "row": 0, "is_reference": False}
        for number in range(6)
        for name in _ids(number)
    ]
    samples = write_part(run.store, "samples", "s", pa.Table.from_pylist(rows, samples_schema([])))
    plan = replace(plan_of(slices), samples=(samples.path,), tiers=TIERS)
    run.summarize(run.adopt(plan), 0)
    return run


def _score(run: Run, number: int, loud: int) -> None:
    """Commit a slice of which ``loud`` captions score high, each differently."""
    values = [9.0 + row / ROWS if row < loud else 1.0 for row in range(ROWS)]
    scores = pa.table([_ids(number), values], schema=SCORES)
    run.commits.commit(f"{number:06d}", [Output("scores", scores)])


@pytest.mark.slow
def test_flagged_captions_are_counted_in_their_tier(run: Run) -> None:
    _score(run, 0, loud=2)
    _score(run, 1, loud=0)
    _score(run, 3, loud=1)
    found = measure_yield(run.store.url)
    assert found.tiers == (
        TierYield("repeated", 200, 200, 200, 200, 2),
        TierYield("others", 400, 100, 100, 100, 1),
    )
    assert found.flagged_by == "the top 1% of the captions scored so far, by noise_norm_first"
    assert found.curve() == [(200 / 600, 2 / 3), (300 / 600, 1.0)]
    # Of the second tier 300 are left, of which 1 in 100 is expected.
    assert 0 <= found.left_low < 3 < found.left_high < 30
    assert found.found_low == pytest.approx(3 / (3 + found.left_high))
    assert found.found_high == pytest.approx(3 / (3 + found.left_low))


@pytest.mark.slow
def test_sealing_changes_nothing(run: Run) -> None:
    for number in range(6):
        _score(run, number, loud=number % 2)
    before = measure_yield(run.store.url)
    run.seal()
    assert measure_yield(run.store.url) == before
    assert (before.left_low, before.left_high, before.found_low) == (0, 0, 1)


def test_without_scores_there_is_no_yield(run: Run) -> None:
    with pytest.raises(UserError, match="no scores"):
        measure_yield(run.store.url)


def test_a_tier_not_begun_is_bounded_by_the_last_begun() -> None:
    begun = TierYield("a", 1000, 1000, 1000, 900, 9)
    low, high = _left([begun, TierYield("b", 5000, 0, 0, 0, 0)])
    assert low == 0
    assert 50 < high < 5000 * 0.02, "more than the rate of 1 %, within its interval"
    assert _left([TierYield("a", 10, 0, 0, 0, 0)]) == (0, 10), "nothing is known"
    added = TierYield("a", 100, 0, 0, 0, 0, generation=1)
    assert _left([begun, added]) == (0, 100), "an extension may repeat what was once"
    assert _left([TierYield("purged", 5, 0, 0, 3, 1)])[1] <= 5


@pytest.mark.slow
def test_the_interval_covers_what_a_whole_scan_flags() -> None:
    """Of random halves of tiers, whose totals are known, nearly all intervals have the rest."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        flagged = int(rng.hypergeometric(60, 1940, 1000))
        low, high = _left([TierYield("a", 2000, 1000, 1000, 1000, flagged)])
        covered += low <= 60 - flagged <= high
        assert high - low < 60
    assert covered >= (0.95 - 3 * 0.011) * 400, "95 %, less three standard errors"


def test_shares_without_a_flagged_caption_are_defined() -> None:
    empty = YieldCurve("x", (TierYield("a", 10, 5, 5, 5, 0),), 0.0, 0.0)
    assert (empty.found_low, empty.curve()) == (None, [(0.5, 0.0)])


@pytest.mark.slow
def test_status_shows_the_yield(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    _score(run, 0, loud=2)
    _score(run, 2, loud=0)
    assert status_command([run.store.url, "--yield", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["yield"]
    assert shown["flagged"] == 2
    assert [tier["found_share"] for tier in shown["tiers"]] == [1.0, 1.0]
    assert status_command([run.store.url, "--yield"]) == 0
    text = capsys.readouterr().out
    assert "repeated: 100 of 200 scanned, 2 flagged" in text
    assert "of the others, " in text
    assert status_command([run.store.url, "--calibration", "testbed"]) == 2
    assert status_command([run.store.url]) == 0
    assert "yield" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_few_slices_stand_for_a_tier(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scanner.query.yield_curve.MOST_READ", 1)
    for number in range(4):
        _score(run, number, loud=10)
    found = measure_yield(run.store.url)
    assert [(tier.scanned, tier.read, tier.ranked) for tier in found.tiers] == [(200, 100, 100)] * 2
    assert found.to_json()["is_estimate"]
    assert found.flagged_by.startswith("the top 1% of the captions read, by")
    assert found.flagged == 2 * sum(tier.flagged for tier in found.tiers)


@pytest.mark.slow
def test_a_threshold_is_named_only_if_it_decides(run: Run) -> None:
    """A calibration for another rate leaves the cut to the run's own top 1 %."""
    _score(run, 0, loud=2)
    for rate, word in ((0.01, "beyond the calibration's threshold"), (0.003, "the top 1%")):
        threshold = SignalThreshold("noise_norm_first", 8.0, True, rate)
        binding = binding_of((run.record() or {})["fingerprint"])
        given = Calibration("here", binding, {}, 0.0, (threshold,))
        assert measure_yield(run.store.url, given).flagged_by.startswith(word)
