"""Captions of repeated images are scanned first, however planning is split, stopped or repeated."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.status import main as status_command
from scanner.captions.grouping import LEAST_SAMPLES
from scanner.cluster import Item, Outcome, Work
from scanner.run import Commits, Plan, Run
from scanner.run.status import status
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.running import execute_here
from scanner.scan.plan.sizes import PlanSizes
from scanner.scan.plan.tiers import BY_SAMPLES, BY_SAMPLES_OR_IMAGES
from scanner.storage import Store

pytestmark = pytest.mark.slow
# Many parts and ranges of few rows, merged on several levels.
MERGING = PlanSizes(
    segment_rows=40, unit_segments=2, chunk_rows=40, range_rows=80, staged_rows=4, fan_in=3
)
UNMERGED = replace(MERGING, fan_in=1000)
STAGES = ("image_read", "image_merge", "image_group", "repeat_merge")
Row = tuple[str, str | None]


def normalization() -> Callable[[str], str]:
    return str.strip


def _write(path: Path, rows: Sequence[Row], row_group: int = 40) -> Path:
    captions, keys = ([row[place] for row in rows] for place in (0, 1))
    table = pa.table({"caption": captions, "sha256": pa.array(keys, pa.string())})
    pq.write_table(table, path, row_group_size=row_group)
    return path


def _rows(seed: int = 0, count: int = 480) -> list[Row]:
    """Captions and images repeated by chance, some of them often."""
    choose = random.Random(seed)
    rows: list[Row] = []
    for number in range(count):
        key = choose.choice([None, "", f"own {number}", f"few {choose.randrange(60)}"])
        if choose.random() < 0.2:
            key = choose.choice(["placeholder", f"often {choose.randrange(4)}"])
        rows.append((f"caption {choose.randrange(count // 2)}", key))
    return rows


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("data") / "data.parquet", _rows())


def _plan(run: Path, *captions: Path, image_key: str | None = None, **options) -> Plan:
    reference = tuple(map(str, options.pop("reference", ())))
    config = ScanConfig(
        out=str(run), captions=tuple(map(str, captions)), reference=reference, image_key=image_key
    )
    options = {"slice_rows": lambda _: 30, "sizes": MERGING, "order": "yield", **options}
    return make_plan(choose_inputs(config), Store(str(run)), normalization, **options)


def _tiers(run: Path, plan: Plan) -> dict[str, str]:
    """The name of each caption's tier."""
    names, tier_of, found = [tier.name for tier in plan.all_tiers()], plan.tier_of(), {}
    for item in plan.slices:
        with pq.ParquetFile(run / item.file) as file:
            texts = file.read_row_group(item.row_group)["canonical"].to_pylist()
        found |= dict.fromkeys(texts, names[tier_of[item.id]])
    return found


def _expected(
    rows: Sequence[Row], planned: Sequence[Row] | None = None, by_images: bool = True
) -> dict[str, str]:
    """The tiers, by a plain count over all rows; of the captions of ``planned`` rows."""
    priors = dict(Counter(caption.strip() for caption, _ in rows))
    images = Counter(key for _, key in rows if key and by_images)
    for caption, key in rows:
        priors[caption.strip()] = max(priors[caption.strip()], images[key])
    names = (BY_SAMPLES_OR_IMAGES if by_images else BY_SAMPLES)[1:]
    return {
        caption.strip(): names[sum(priors[caption.strip()] < least for least in LEAST_SAMPLES)]
        for caption, _ in (rows if planned is None else planned)
    }


def _contents(run: Path, plan: Plan) -> tuple:
    """Return a plan with the bytes of its files instead of their names."""
    files = [(run / name).read_bytes() for name in (*plan.captions, *plan.samples, *plan.rejects)]
    slices = [(item.id, item.first, item.last, item.rows) for item in plan.slices]
    return slices, plan.tiers, plan.counts, files


def _commits(run: Path, stage: str) -> list[Path]:
    return sorted(run.glob(f"planning/*/{stage}/*.json"))


def test_an_image_under_many_captions_comes_first(tmp_path: Path) -> None:
    rows = [(f"planted {number}", "planted") for number in range(500)]
    rows += [(f"other {number}", f"own {number}") for number in range(500)]
    rows += [("said often", f"unique {number}") for number in range(20)]
    random.Random(0).shuffle(rows)
    plan = _plan(tmp_path / "run", _write(tmp_path / "a.parquet", rows))
    assert plan.captions_by_tier() == {
        "captions or images with 100 samples or more": 500,
        "captions or images with 10 to 99 samples": 1,
        "captions and images with one sample": 500,
    }
    assert _tiers(tmp_path / "run", plan) == _expected(rows)


KEYS = st.one_of(st.none(), st.sampled_from(["", "'", "u", "v", "w", "x" * 100, "\x00", "ü"]))
SOME_ROWS = st.lists(st.tuples(st.sampled_from("abcdefghijkl"), KEYS), min_size=1, max_size=60)


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(SOME_ROWS, st.integers(1, 40))
def test_tiers_are_those_of_a_plain_count(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], row_group: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    path = _write(folder / "a.parquet", rows, row_group)
    sizes = PlanSizes(segment_rows=10, unit_segments=1, range_rows=10, staged_rows=2, fan_in=2)
    plan = _plan(folder / "run", path, sizes=sizes)
    expected = _expected(rows)
    assert plan.captions_by_tier() == (
        {} if len({*expected.values()}) == 1 else Counter(expected.values())
    )
    if plan.tiers:
        assert _tiers(folder / "run", plan) == expected
        assert plan.counts["captions"] == len(expected)


def test_all_stages_are_merged_and_agree(tmp_path: Path, data: Path) -> None:
    merged = _plan(tmp_path / "a", data)
    assert all(_commits(tmp_path / "a", stage) for stage in STAGES)
    assert _tiers(tmp_path / "a", merged) == _expected(_rows())
    plain = _plan(tmp_path / "b", data, sizes=UNMERGED)
    assert not _commits(tmp_path / "b", "image_merge")
    assert _contents(tmp_path / "a", merged) == _contents(tmp_path / "b", plain)


def test_without_an_image_key_nothing_changes(tmp_path: Path, data: Path) -> None:
    table = pq.read_table(data, columns=["caption"])
    pq.write_table(table, tmp_path / "bare.parquet", row_group_size=40)
    bare = _plan(tmp_path / "bare", tmp_path / "bare.parquet")
    assert {tier.name for tier in bare.tiers} <= {*BY_SAMPLES}
    not_chosen = _plan(tmp_path / "none", data, image_key="none")
    assert _contents(tmp_path / "bare", bare)[:3] == _contents(tmp_path / "none", not_chosen)[:3]
    by_id = _plan(tmp_path / "id", data, order="id")
    assert by_id.tiers == ()
    for run in ("bare", "none", "id"):
        assert not list((tmp_path / run / "planning/0000").glob("*image*"))


def test_reference_captions_and_their_images_count_for_nothing(tmp_path: Path, data: Path) -> None:
    rows = [(f"reference {number}", "few 1") for number in range(200)]
    path = _write(tmp_path / "references.parquet", [*rows, ("caption 3", "own")])
    plan = _plan(tmp_path / "run", data, reference=(path,))
    found = _tiers(tmp_path / "run", plan)
    references = {caption: BY_SAMPLES_OR_IMAGES[0] for caption, _ in rows}
    assert found == {**_expected(_rows()), **references}


def test_only_reference_files_with_image_keys_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\ntwo\n")
    path = _write(tmp_path / "references.parquet", [("never", "u")] * 3)
    plan = _plan(tmp_path / "run", tmp_path / "a.txt", reference=(path,))
    assert [tier.name for tier in plan.tiers] == [BY_SAMPLES[0], *BY_SAMPLES[-2:]]


@pytest.mark.parametrize("limit", [25, 300])
def test_a_limit_takes_the_same_captions_and_counts_no_images(
    tmp_path: Path, data: Path, limit: int
) -> None:
    plan = _plan(tmp_path / "yield", data, limit=limit)
    by_id = _plan(tmp_path / "id", data, limit=limit, order="id")
    assert not list((tmp_path / "yield").glob("planning/*/image_read"))
    expected = _expected(_rows(), by_images=False)
    found = _tiers(tmp_path / "yield", plan)
    assert found.keys() == _tiers(tmp_path / "id", by_id).keys()
    assert found == {caption: expected[caption] for caption in found}


def test_a_stopped_stage_resumes_to_the_same_plan(tmp_path: Path, data: Path) -> None:
    sizes = replace(MERGING, fan_in=2, range_rows=40)
    plain = replace(sizes, fan_in=1000)
    undisturbed = _contents(tmp_path / "a", _plan(tmp_path / "a", data, sizes=plain))
    for stage in STAGES:
        run = tmp_path / stage
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                _plan(run, data, execute=_stopping(stage, after=1), sizes=sizes)
        kept = _commits(run, stage)
        assert len(kept) == 2
        assert not _commits(run, "group")
        inodes = [path.stat().st_ino for path in kept]
        assert _contents(run, _plan(run, data, sizes=sizes)) == undisturbed, stage
        assert [path.stat().st_ino for path in kept] == inodes, "not done again"
        assert len(_commits(run, stage)) > 2


def _stopping(stage: str, after: int) -> Callable:
    """Return an executor that is interrupted after some items of a stage."""
    left = after

    def execute(commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]) -> Outcome:
        nonlocal left
        if not commits.folder.endswith(f"/{stage}"):
            return execute_here(commits, items, make_work)
        todo = [item for item in items if item.id not in commits.done()]
        done = execute_here(commits, todo[:left], make_work).done
        left -= done
        if left == 0:
            raise KeyboardInterrupt
        return Outcome(done)

    return execute


def test_two_drivers_at_once_make_one_plan(tmp_path: Path, data: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: _plan(tmp_path / "run", data), range(2))
    assert one == other
    undisturbed = _contents(tmp_path / "a", _plan(tmp_path / "a", data))
    assert _contents(tmp_path / "run", one) == undisturbed


def test_a_plan_that_began_without_images_goes_on_so(tmp_path: Path, data: Path) -> None:
    first = _plan(tmp_path / "run", data, image_key="none")
    assert _plan(tmp_path / "run", data) == first
    assert {tier.name for tier in first.tiers} <= {*BY_SAMPLES}


def test_an_extension_counts_the_images_of_earlier_samples(tmp_path: Path, data: Path) -> None:
    new = [(f"new {number}", f"few {number % 70}") for number in range(100)]
    new += [("caption 1", "few 2"), ("new 0", "placeholder")]
    first = _plan(tmp_path / "run", data)
    path = _write(tmp_path / "new.parquet", new)
    second = _plan(tmp_path / "run", path, earlier=(first,))
    found = _tiers(tmp_path / "run", second)
    rows = [row for row in new if row[0] != "caption 1"]
    assert found == _expected([*_rows(), *new], rows)
    assert found["new 0"] == BY_SAMPLES_OR_IMAGES[2], "an image that is often in earlier files"
    assert _expected(new)["new 0"] != found["new 0"]


def test_an_extension_of_files_without_keys_reads_only_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    first = _plan(tmp_path / "run", tmp_path / "a.txt")
    path = _write(tmp_path / "new.parquet", [("three", "u"), ("four", "u"), ("five", "v")])
    second = _plan(tmp_path / "run", path, earlier=(first,))
    assert len(_commits(tmp_path / "run", "image_read")) == 1
    assert second.captions_by_tier() == {BY_SAMPLES_OR_IMAGES[4]: 2, BY_SAMPLES_OR_IMAGES[5]: 1}


def test_one_image_of_most_samples_makes_more_parts(tmp_path: Path) -> None:
    """All pairs of one image are in one range, whatever its size."""
    rows = [(f"caption {number}", "placeholder" if number % 9 else None) for number in range(1200)]
    path = _write(tmp_path / "a.parquet", rows)
    sizes = replace(MERGING, merge_bytes=9_000, fan_in=6)
    plan = _plan(tmp_path / "run", path, sizes=sizes)
    assert _tiers(tmp_path / "run", plan) == _expected(rows)
    parts = [
        commit.read_text().count(".cuts") for commit in _commits(tmp_path / "run", "image_merge")
    ]
    assert max(parts) > 2


def test_status_shows_the_progress_of_images(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(Store(str(tmp_path / "run")))
    run.begin({"inputs": {}, "fingerprint": {"id": "f"}})
    with pytest.raises(KeyboardInterrupt):
        _plan(tmp_path / "run", data, execute=_stopping("image_group", 2))
    files = len(_commits(tmp_path / "run", "image_read"))
    assert files > 2
    planning = status(run)["planning"]
    assert planning is not None
    assert (planning["image_files_read"], planning["image_ranges_grouped"]) == (files, 2)
    assert status_command([run.store.url]) == 0
    shown = f"images: {files} samples files read, 2 ranges grouped; ranges of caption ids: "
    assert shown in capsys.readouterr().out
