"""The columns of the ranking, and how its query is planned."""

import json
import math
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.query import RunTables, open_run
from scanner.query.calibrated import Calibration, SignalThreshold, binding_of
from scanner.scoring.catalog import SIGNALS
from tests.memscan import called
from tests.query.questions import named_rows
from tests.query.runs import SCORES
from tests.sealed import seal_run

CALIBRATION = Calibration(
    "calibration.json",
    binding_of({}),
    {"noise_norm_first": (1.0,)},
    -8.0,
    (
        SignalThreshold("combination", 0.5, True, 0.01),
        SignalThreshold("bos_mass", 0.2, False, 0.03),
    ),
)


def test_rank_shows_probability_cluster_and_exceeded_thresholds(
    run: str,
) -> None:
    first, second, third, _ = named_rows(open_run(run, calibration=CALIBRATION), "rank")
    assert first["probability"] == pytest.approx(1 / (1 + math.exp(-1)))
    assert second["probability"] == pytest.approx(0.5)
    assert first["cluster"] == second["cluster"]
    assert third["cluster"] == "c"
    assert first["reasons"] == [
        "combination ≥ 0.5 (1 % FPR)",
        "bos_mass ≤ 0.2 (3 % FPR)",
    ]
    assert third["reasons"] == []


@pytest.mark.parametrize("least", ["1", "2"])
def test_rank_counts_samples_only_if_requested(tables: RunTables, least: str) -> None:
    rows = named_rows(tables, "rank", min_samples=least, top="2")
    found = {"1": [("a", 0.75), ("b", 0.5)], "2": [("a", 0.5), ("c", 0.0)]}
    assert [(row["caption_id"], row["percentile"]) for row in rows] == found[least]


def test_a_list_longer_than_one_pass_is_ranked_the_same(tables: RunTables) -> None:
    assert named_rows(tables, "rank", top="100001") == named_rows(tables, "rank")


@pytest.mark.slow
def test_a_reference_that_a_later_plan_trains_on_is_ranked(run: str, tmp_path: Path) -> None:
    extended = tmp_path / "extended"
    shutil.copytree(run, extended)
    assert "r" not in {row["caption_id"] for row in named_rows(open_run(str(extended)), "rank")}
    (extended / "plan-0002.json").write_text("{}")
    manifest = json.loads((extended / "manifest-0001.json").read_text())
    samples = extended / manifest["samples"][0]
    table = pq.read_table(samples)
    trained = table.slice(0, 1).to_pylist()[0] | {"caption_id": "r", "row": 99}
    pq.write_table(
        pa.concat_tables([table, pa.Table.from_pylist([trained], table.schema)]), samples
    )
    first = named_rows(open_run(str(extended)), "rank")[0]
    assert (first["caption_id"], first["n_samples"]) == ("r", 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "decides", "first"),
    [
        (("entropy_e", "bos_mass", "prompt_mass", "summary_mass"), "bos_mass", "lowest"),
        (("entropy_e", "bos_mass", "noise_norm_first"), "noise_norm_first", "highest"),
        (("entropy_e", "prompt_mass"), "prompt_mass", "highest"),
        (("entropy_e", "cosine_low_noise"), "cosine_low_noise", "highest"),
        (("summary_mass", "entropy_e"), "entropy_e", "highest"),
        (("summary_mass",), "summary_mass", "highest"),
    ],
)
def test_the_strongest_signal_ranks_and_is_logged(
    tmp_path: Path, signals: tuple[str, ...], decides: str, first: str
) -> None:
    fields = [SCORES.field(name) for name in ("caption_id", "seeds", "truncated")]
    fields += [SIGNALS[name].documented_field for name in signals]
    ids = ("a", "b", "c")
    others = iter([[3.0, 1.0, 2.0], [2.0, 3.0, 1.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0]])
    values = {name: next(others) for name in signals if name != decides}
    values[decides] = [1.0, 2.0, 3.0]
    scores = pa.table({"caption_id": ids, "seeds": [1] * 3, "truncated": [False] * 3, **values})
    run = seal_run(
        tmp_path / "run",
        [{"caption_id": i} for i in ids],
        [{"caption_id": i, "caption": i} for i in ids],
        scores.select([field.name for field in fields]).cast(pa.schema(fields)),
    )
    done = called("rank", run, "--json")
    rows = json.loads(done.stdout)
    assert {row["signal"] for row in rows} == {decides}
    order = [row["caption_id"] for row in rows]
    assert order == (list(ids) if first == "lowest" else list(ids)[::-1])
    assert f"ranked by {decides}, {first} first: of this run's signals" in done.stderr
