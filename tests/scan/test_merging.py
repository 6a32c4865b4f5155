"""Merging of staged parts: few sources per range, the same captions, and progress that survives."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.status import main as status_command
from scanner.cluster import Item, Outcome, Work
from scanner.errors import UserError
from scanner.run import Commits, Plan, Run
from scanner.run.status import status
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.cuts import IDS, IdRange, StagedPart
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.merging import StagedParts, plan_merges
from scanner.scan.plan.running import execute_here
from scanner.scan.plan.sizes import PlanSizes
from scanner.storage import Store
from tests.scan.test_inputs_and_plan import normalization

# 24 parts, two of which fill a range; three levels of merging.
MERGING = PlanSizes(
    segment_rows=50, unit_segments=2, chunk_rows=50, range_rows=100, staged_rows=4, fan_in=3
)
UNMERGED = replace(MERGING, fan_in=1000)
ROWS = 1200


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    choose = random.Random(0)
    captions = [f"caption {choose.randrange(ROWS // 2)}" for _ in range(ROWS)]
    captions = [text.upper() if choose.random() < 0.3 else text for text in captions]
    path = tmp_path_factory.mktemp("data") / "data.parquet"
    pq.write_table(pa.table({"caption": captions}), path, row_group_size=50)
    return path


def _plan(run: Path, *captions: Path, reference: tuple[Path, ...] = (), **options) -> Plan:
    config = ScanConfig(
        out=str(run), captions=tuple(map(str, captions)), reference=tuple(map(str, reference))
    )
    options = {"slice_rows": lambda rows: 30, "sizes": MERGING, **options}
    return make_plan(choose_inputs(config), Store(str(run)), normalization, **options)


def _contents(run: Path, plan: Plan) -> tuple:
    """Return a plan with the bytes of its files instead of their names."""
    files = [(run / name).read_bytes() for name in (*plan.captions, *plan.samples, *plan.rejects)]
    return [(item.id, item.first, item.last, item.rows) for item in plan.slices], plan.counts, files


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple:
    """The contents of a plan of ``data`` that nothing disturbed."""
    run = tmp_path_factory.mktemp("undisturbed")
    return _contents(run, _plan(run, data))


def _merges(run: Path) -> set[Path]:
    return set(run.glob("planning/*/merge/*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 30, 500])
@pytest.mark.parametrize("with_reference", [False, True])
def test_merging_changes_no_byte_of_the_result(
    tmp_path: Path, data: Path, limit: int | None, with_reference: bool
) -> None:
    null = "caption 7\n" + "".join(f"null {number}\n" for number in range(9))
    (tmp_path / "null.txt").write_text(null)
    options = {"limit": limit, "reference": (tmp_path / "null.txt",) if with_reference else ()}
    merged = _contents(tmp_path / "a", _plan(tmp_path / "a", data, **options))
    plain = _contents(tmp_path / "b", _plan(tmp_path / "b", data, **options, sizes=UNMERGED))
    assert merged == plain
    assert not _merges(tmp_path / "b")
    # A small limit is found in the first ranges, which are then all that is read.
    assert bool(_merges(tmp_path / "a")) == (limit != 30 or with_reference)


@pytest.mark.slow
def test_an_extension_merges_and_omits_earlier_captions(tmp_path: Path, data: Path) -> None:
    (tmp_path / "new.txt").write_text("".join(f"caption {n}\n" for n in range(300, 1500)))
    contents = []
    for sizes in (MERGING, UNMERGED):
        run = tmp_path / str(sizes.fan_in)
        first = _plan(run, data, sizes=sizes)
        second = _plan(run, tmp_path / "new.txt", earlier=(first,), sizes=sizes)
        contents.append(_contents(run, second))
        assert second.counts["captions"] + first.counts["captions"] > 1200
    assert contents[0] == contents[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_interrupted_merging_resumes_to_the_same_plan(
    tmp_path: Path, data: Path, undisturbed: tuple, seed: int
) -> None:
    choose = random.Random(seed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            _plan(tmp_path / "b", data, execute=_stopping(choose.randrange(1, 12)))
    assert _merges(tmp_path / "b")
    assert _contents(tmp_path / "b", _plan(tmp_path / "b", data)) == undisturbed


def _stopping(after: int) -> Callable:
    """Return an executor that is interrupted after some items of merging."""
    left = after

    def execute(commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]) -> Outcome:
        nonlocal left
        if not commits.folder.endswith("merge"):
            return execute_here(commits, items, make_work)
        todo = [item for item in items if item.id not in commits.done()]
        done = execute_here(commits, todo[:left], make_work).done
        left -= done
        if left == 0:
            raise KeyboardInterrupt
        return Outcome(done)

    return execute


@pytest.mark.slow
def test_status_shows_the_progress_of_merging(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(Store(str(tmp_path / "run")))
    run.begin({"inputs": {}, "fingerprint": {"id": "f"}})
    for more, levels in ((5, {"1": 5}), (6, {"1": 8, "2": 3})):
        with pytest.raises(KeyboardInterrupt):
            _plan(tmp_path / "run", data, execute=_stopping(more))
        merged, level = sum(levels.values()), max(map(int, levels))
        assert Counter(path.name.split("-")[0] for path in _merges(tmp_path / "run")) == levels
        assert status_command([run.store.url]) == 0
        shown = f"read; ranges of caption ids: {merged} merged (level {level}), 0 grouped"
        printed = capsys.readouterr()
        assert shown in printed.out, printed
        planning = status(run)["planning"]
        assert planning is not None
        assert (planning["ranges_merged"], planning["merge_level"]) == (merged, level)


@pytest.mark.slow
def test_two_drivers_that_merge_at_once_agree(
    tmp_path: Path, data: Path, undisturbed: tuple
) -> None:
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: _plan(tmp_path / "run", data), range(2))
    assert one == other
    assert _contents(tmp_path / "run", one) == undisturbed


@pytest.mark.slow
def test_merges_of_other_sizes_are_not_mixed_in(
    tmp_path: Path, data: Path, undisturbed: tuple
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _plan(tmp_path / "b", data, execute=_stopping(9))
    earlier = _merges(tmp_path / "b")
    other = replace(MERGING, fan_in=4)
    again = _contents(tmp_path / "b", _plan(tmp_path / "b", data, sizes=other))
    assert again == undisturbed
    assert len(_merges(tmp_path / "b") - earlier) > 9


@pytest.mark.slow
def test_merges_over_their_memory_write_more_parts(tmp_path: Path) -> None:
    """All spellings of one caption are in one range, whatever its size."""
    spellings = [f"{'The Same'[: 4 + n % 4]}{' ' * n}" for n in range(ROWS)]
    pq.write_table(pa.table({"caption": spellings}), tmp_path / "a.parquet", row_group_size=50)
    sizes = replace(MERGING, merge_bytes=20_000, fan_in=6)
    plan = _plan(tmp_path / "a", tmp_path / "a.parquet", sizes=sizes)
    plain = _plan(tmp_path / "b", tmp_path / "a.parquet", sizes=UNMERGED)
    assert _contents(tmp_path / "a", plan) == _contents(tmp_path / "b", plain)
    parts = [commit.read_text().count(".cuts") for commit in _merges(tmp_path / "a")]
    assert max(parts) > 3


@pytest.mark.slow
def test_a_failed_merge_is_an_error_and_can_be_resumed(
    tmp_path: Path, data: Path, undisturbed: tuple
) -> None:
    def failing(commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]) -> Outcome:
        if not commits.folder.endswith("merge"):
            return execute_here(commits, items, make_work)
        outcome = execute_here(commits, items[1:], make_work)
        return Outcome(outcome.done, {items[0].id: "OutOfMemory: no room"})

    with pytest.raises(UserError, match=r"0000/merge/1-000000-.*no room.*rerun the same command"):
        _plan(tmp_path / "b", data, execute=failing)
    assert _contents(tmp_path / "b", _plan(tmp_path / "b", data)) == undisturbed


def _parts(count: int, rows: int, cuts: int) -> StagedParts:
    lengths = (rows * 60 // cuts,) * cuts
    return StagedParts(StagedPart(str(n), rows, 0, 0, IDS, lengths) for n in range(count))


def test_a_merge_covers_every_part_and_id_once() -> None:
    sizes = PlanSizes()
    staged = _parts(50, 1 << 19, 128)
    ((interval, items),) = plan_merges(staged, 1, sizes).items()
    assert interval == (0, IDS)
    sources = [source for item in items for source in item.staged]
    for name in ("0", "17", "49"):
        starts = [source.start for source in sources if source.path == name]
        assert len(starts) == len(set(starts)) == 4
    assert sum(source.end - source.start for source in sources) == 50 * (1 << 19) * 60
    assert max(len(item.staged) for item in items) <= sizes.fan_in
    assert len({(item.first, item.last) for item in items}) == 4


@pytest.mark.parametrize("count", [1, 2, 20])
def test_few_parts_are_not_merged(count: int) -> None:
    assert plan_merges(_parts(count, 1 << 19, 128), 1, PlanSizes()) == {}
    assert plan_merges(_parts(1000, 100, 1), 1, PlanSizes()) == {}, "one range reads each once"


def test_small_parts_are_merged_to_the_size_of_a_range() -> None:
    ((_, items),) = plan_merges(_parts(5000, 10_000, 2), 1, PlanSizes()).items()
    assert len(items) == 5000 // 104 + 1
    assert all(item.first == "0" * 32 for item in items)


def test_ranges_of_merged_and_unmerged_intervals_are_located() -> None:
    half = IDS // 2
    parts = [StagedPart("a", 9, 0, 0, half, (5, 5)), StagedPart("b", 9, 0, half, IDS, (7, 7))]
    staged = StagedParts(parts)
    middle = staged.locate(IdRange("", f"{half // 2:032x}", f"{half + half // 2 - 1:032x}"))
    assert [(one.path, one.start, one.end) for one in middle.staged] == [("a", 5, 10), ("b", 0, 7)]
