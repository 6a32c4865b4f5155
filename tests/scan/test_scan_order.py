"""Captions that are most likely memorized are scanned first, and a scan may stop there."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scanner.cluster.events import Task
from scanner.cluster.executor import _spread
from scanner.query import open_run
from scanner.run import Plan, Slice, Tier
from scanner.run.summary import PlanSummary
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.from_run import plan_from_run
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.sizes import PlanSizes
from scanner.scan.plan.tiers import BY_RANK, BY_SAMPLES
from scanner.storage import Store
from tests.curation.runs import make_run

# Training samples of each caption; the last two are reference captions, one of them also trained.
SAMPLES = {"often": 120, "ten": 10, "nine": 9, "four": 4, "three": 3, "twice": 2, "one": 1}
IN_TIERS = [["unseen"], ["often"], ["ten"], ["four", "nine"], ["three", "twice"], ["a", "b", "one"]]
COUNTS = {"rows": 0, "samples": 0, "rejects": 0, "rejected_files": 0, "captions": 0}
SMALL = PlanSizes(staged_rows=1, range_rows=4)  # several ranges of ids


def normalization() -> Callable[[str], str]:
    return str.strip


@pytest.fixture
def config(tmp_path: Path) -> ScanConfig:
    captions = [text for text, times in SAMPLES.items() for _ in range(times)]
    (tmp_path / "a.txt").write_text("\n".join([*captions, "a", "b"]) + "\n")
    (tmp_path / "references.txt").write_text("one\nunseen\n")
    return ScanConfig(
        captions=(str(tmp_path / "a.txt"),), reference=(str(tmp_path / "references.txt"),)
    )


def _plan(config: ScanConfig, folder: Path, order: str = "yield", rows: int = 2) -> Plan:
    return make_plan(
        choose_inputs(config),
        Store(str(folder)),
        normalization,
        lambda _: rows,
        config.limit,
        sizes=SMALL,
        order=order,
    )


def _captions(folder: Path, item: Slice) -> list[str]:
    with pq.ParquetFile(folder / item.file) as file:
        return file.read_row_group(item.row_group)["caption"].to_pylist()


def _by_tier(folder: Path, plan: Plan) -> list[list[str]]:
    """The captions of each tier, sorted."""
    slices, found = iter(plan.slices), []
    for tier in plan.tiers:
        own = [next(slices) for _ in range(tier.slices)]
        found.append(sorted(text for item in own for text in _captions(folder, item)))
    assert next(slices, None) is None
    return found


def test_captions_with_most_samples_come_first(config: ScanConfig, tmp_path: Path) -> None:
    plan = _plan(config, tmp_path / "run")
    assert [tier.name for tier in plan.tiers] == [*BY_SAMPLES]
    assert _by_tier(tmp_path / "run", plan) == IN_TIERS
    assert [item.id for item in plan.slices] == [f"{n:06d}" for n in range(len(plan.slices))]


def test_ids_ascend_within_a_tier(config: ScanConfig, tmp_path: Path) -> None:
    plan, tier_of = _plan(config, tmp_path / "run", rows=1), {}
    tier_of = plan.tier_of()
    pairs = [(tier_of[item.id], item.first, item.last) for item in plan.slices]
    assert pairs == sorted(pairs)


def test_a_plan_by_id_has_the_same_captions(config: ScanConfig, tmp_path: Path) -> None:
    by_id = _plan(config, tmp_path / "by id", "id")
    assert by_id.tiers == ()
    firsts = [item.first for item in by_id.slices]
    assert firsts == sorted(firsts)
    found = [text for item in by_id.slices for text in _captions(tmp_path / "by id", item)]
    assert sorted(found) == sorted(text for tier in IN_TIERS for text in tier)
    stored = pq.read_schema(tmp_path / "by id" / by_id.captions[0])
    assert "tier" not in stored.names


def test_a_limit_still_takes_the_smallest_ids(config: ScanConfig, tmp_path: Path) -> None:
    few = ScanConfig(captions=config.captions, limit=3)
    ids = []
    for order in ("id", "yield"):
        plan = _plan(few, tmp_path / order, order, rows=1)
        ids.append({item.first for item in plan.slices})
    assert ids[0] == ids[1]
    assert len(ids[0]) == 3


def test_a_resumed_plan_keeps_its_order(config: ScanConfig, tmp_path: Path) -> None:
    first = _plan(config, tmp_path / "run", "id")
    assert _plan(config, tmp_path / "run", "yield") == first


@pytest.mark.slow
def test_a_cascade_scans_the_top_of_its_ranking_first(tmp_path: Path) -> None:
    count = 128
    (tmp_path / "a.txt").write_text("".join(f"caption {n}\n" for n in range(count)))
    make_run(
        tmp_path / "first",
        lambda text: float(text.split()[1]),
        captions=(str(tmp_path / "a.txt"),),
    )
    store = Store(str(tmp_path / "second"))
    plan = plan_from_run(str(tmp_path / "first"), "true", store, lambda _: 10, None, "yield")
    numbers = [
        {int(text.split()[1]) for text in tier} for tier in _by_tier(tmp_path / "second", plan)
    ]
    assert numbers == [{126, 127}, {*range(120, 126)}, {*range(96, 120)}, {*range(96)}]
    assert plan.tiers[0].name == BY_RANK[0]
    assert plan_from_run(str(tmp_path / "first"), "true", store, lambda _: 10, None).tiers == ()


def test_drivers_begin_at_any_place_of_the_first_tier() -> None:
    tasks = [Task(Slice(str(n), "f", "", "", 1), 0) for n in range(9)]
    tiers = {str(n): n // 3 for n in range(9)}
    firsts = set()
    for _ in range(100):
        spread = [task.item.id for task in _spread(tasks, tiers)]
        assert [tiers[name] for name in spread] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        firsts.add(spread[0])
    assert firsts == {"0", "1", "2"}


def test_tiers_are_kept_in_the_files_of_a_plan() -> None:
    slices = tuple(Slice(f"{n:06d}", "captions/a.parquet", "", "", 5, n) for n in range(4))
    plan = Plan((), (), (), (), slices, COUNTS, {}, tiers=(Tier("x", 1), Tier("y", 3)))
    assert Plan.from_json("plan.json", plan.to_json()) == plan
    assert plan.tier_of() == {"000000": 0, "000001": 1, "000002": 1, "000003": 1}
    assert plan.captions_by_tier() == {"x": 5, "y": 15}
    assert PlanSummary.of(plan, {}).slices == 4
    more = Plan((), (), (), (), (Slice("000004", "captions/b.parquet", "", "", 5, 0),), {}, {})
    joined = Plan.joined([plan, more])
    assert [(tier.name, tier.slices) for tier in joined.tiers] == [
        ("x", 1), ("y", 3), ("all captions", 1)
    ]  # fmt: skip


def test_a_plan_that_counts_its_slices_wrongly_is_read() -> None:
    slices = tuple(Slice(f"{n:06d}", "captions/a.parquet", "", "", 5, n) for n in range(3))
    for tiers in ((Tier("x", 1), Tier("y", 1)), (Tier("x", 1 << 60), Tier("y", 1))):
        plan = Plan((), (), (), (), slices, COUNTS, {}, tiers=tiers)
        found = Plan.from_json("plan.json", plan.to_json()).tier_of()
        assert found.keys() == {"000000", "000001", "000002"}
        assert {*found.values()} <= {0, 1}


def test_plans_of_earlier_versions_are_read() -> None:
    plan = Plan((), (), (), (), (Slice("000000", "captions/a", "", "", 5, 0),), COUNTS, {})
    record = json.loads(plan.to_json())
    del record["generations"][0]["tiers"]
    record["generations"][0]["order"] = "caption_id"
    assert Plan.from_json("plan.json", json.dumps(record).encode()) == plan


@pytest.mark.parametrize("order", ["id", "yield"])
def test_the_order_changes_no_view(order: str, config: ScanConfig, tmp_path: Path) -> None:
    place = make_run(
        tmp_path / "run", lambda text: float(len(text)), order=order, captions=config.captions,
        reference=config.reference,
    )  # fmt: skip
    rows = open_run(place).query("SELECT caption, n_samples FROM ranked").to_pylist()
    expected = {**SAMPLES, "a": 1, "b": 1}
    assert {row["caption"]: row["n_samples"] for row in rows} == expected
