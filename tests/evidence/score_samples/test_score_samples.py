"""Scores of the testbed's samples as a user makes them: killed, started again, queried."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from scanner.curation import curate
from scanner.query import open_run
from scanner.testbed import labels
from tests.curation.runs import policy, rule
from tests.evidence.testbed_runs import rows_of, run_over
from tests.memscan import called
from tests.sessions import kill_session, start_held
from tests.waiting import wait_until

SETTINGS = ("--where", "true", "--levels", "300", "--noises", "2", "--json")
OTHERS = 3


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Two memorized captions, each with their image and, planted, images of other captions."""
    memorized = [row["caption"] for row in labels().to_pylist() if row["group"] == "memorized"][:4]
    own, others = rows_of(memorized[:2]), rows_of(memorized[2:])
    images = {row["url"]: row for row in others.to_pylist()}
    more = [*images.values(), {**others.to_pylist()[0], "url": "a third"}]
    planted = [
        {**row, "caption": caption, "key": f"planted {caption} {number}"}
        for caption in memorized[:2]
        for number, row in enumerate(more)
    ]
    planted[-1] |= {"url": "unreadable", "image": b"no image"}
    return pa.concat_tables([own, pa.Table.from_pylist(planted, own.schema)])


@pytest.fixture(scope="module")
def run(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_over(rows, tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="module")
def undisturbed(run: str) -> str:
    """A copy of the run, before anything was scored."""
    return shutil.copytree(run, f"{run}-undisturbed")


@pytest.fixture(scope="module")
def killed(run: str, undisturbed: str) -> int:
    """The command, killed after its first commit: how many there are."""
    call = (
        "import scanner.evidence.score_samples.drive as drive; drive.GROUP_FORWARDS = 8; "
        "from jobs.score_samples import main; sys.exit(main(sys.argv[2:]))"
    )
    driver = start_held("scanner.evidence.training_images.group_runner", call, run, *SETTINGS)

    def commits() -> int:
        return len(list(Path(run).glob("sample_scores/*/commits/*.json")))

    try:
        wait_until(lambda: commits() or driver.poll() is not None, "nothing is committed")
    finally:
        kill_session(driver)
    return commits()


def score(run: str) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scanner.evidence.score_samples.drive.GROUP_FORWARDS", 8)
        return json.loads(called("score-samples", run, *SETTINGS).stdout)


@pytest.fixture(scope="module")
def scored(run: str, killed: int) -> dict[str, Any]:
    """The same again, to its end."""
    return score(run)


def test_a_killed_scoring_resumes(scored: dict, killed: int, rows: pa.Table) -> None:
    assert killed == 1
    pairs = 2 * (OTHERS + 1)
    counts = {"samples": len(rows), "pairs": pairs, "scored": pairs - 1, "missing_images": 1}
    assert counts.items() <= scored.items()
    assert scored["quarantined"] == scored["rejected"] == 0
    assert scored["images_per_second"] > 0


@pytest.mark.slow
def test_a_resumed_scoring_equals_an_undisturbed_one(
    run: str, undisturbed: str, scored: dict
) -> None:
    assert score(undisturbed)["scored"] == scored["scored"]
    numbers = ("clid", "clid_levels[1]", "denoising_error")
    query = f"""
        SELECT * EXCLUDE (scored_at, clid, clid_levels, denoising_error), {", ".join(numbers)}
        FROM sample_scores ORDER BY caption_id, image"""
    mine, other = (open_run(url).query(query) for url in (run, undisturbed))
    assert mine.drop_columns(mine.column_names[-3:]) == other.drop_columns(other.column_names[-3:])
    for name in mine.column_names[-3:]:
        assert mine[name].to_pylist() == pytest.approx(other[name].to_pylist(), rel=1e-4), name


def test_the_reproduced_image_has_the_highest_clid(run: str, scored: dict) -> None:
    """Each pair once, though the own image has many rows; and a rerun adds nothing."""
    query = """
        SELECT caption_id, first(samples.key ORDER BY clid DESC) AS best, count(*) AS images
        FROM sample_scores JOIN samples USING (caption_id, source, "row")
        GROUP BY caption_id"""
    best = open_run(run).query(query).to_pylist()
    assert sorted(row["images"] for row in best) == [OTHERS, OTHERS + 1]
    assert not any(row["best"].startswith("planted") for row in best)
    parts = list(Path(run).glob("sample_scores/tables/*"))
    assert score(run)["scored"] == scored["scored"]
    assert list(Path(run).glob("sample_scores/tables/*")) == parts


def test_a_cap_keeps_the_least_memorized_image(run: str, scored: dict, tmp_path: Path) -> None:
    """By these scores: of the planted images, never the one that the model reproduces."""
    tables = open_run(run)
    curate(run, tables, policy(rule("all", "true", "cap")), str(tmp_path))
    query = """
        SELECT caption_id, first(samples.key ORDER BY clid) AS least
        FROM sample_scores JOIN samples USING (caption_id, source, "row")
        GROUP BY caption_id"""
    least = {row["caption_id"]: row["least"] for row in tables.query(query).to_pylist()}
    listed = pq.read_table(tmp_path / "removal_list.parquet")
    removed = listed.filter(pc.equal(listed["action"], "cap")).to_pylist()
    assert {row["caption_id"]: row["kept_key"] for row in removed} == least
    assert all(key.startswith("planted") for key in least.values())
    assert {*least.values()}.isdisjoint(row["key"] for row in removed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--where: name the captions"),
        (("--where", "true", "--noises", "0"), "--noises 0: must be at least 1"),
        (("--where", "true", "--levels", "0"), "--levels 0: must be whole timesteps above 0"),
        (("--where", "false"), "no samples of captions chosen by --where false"),
        (("--where", "nonsense"), "nonsense"),
    ],
)
def test_invalid_options_are_refused(run: str, options: tuple[str, ...], message: str) -> None:
    done = called("score-samples", run, *options, check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr


@pytest.mark.slow
def test_another_family_scores_the_same_samples(
    undisturbed: str, random_families: dict[str, Path], tmp_path: Path
) -> None:
    """A model that verify refuses, with a VAE of videos and packed latents."""
    run = shutil.copytree(undisturbed, tmp_path / "run")
    model = ("--model", str(random_families["qwen-image"]), "--height", "64", "--width", "64")
    done = json.loads(called("score-samples", str(run), *SETTINGS, *model).stdout)
    assert (done["scored"], done["missing_images"]) == (2 * (OTHERS + 1) - 1, 1)
    clid = open_run(str(run)).query("SELECT clid FROM sample_scores")["clid"].to_pylist()
    assert len({*clid}) == len(clid) - 1  # two URLs show one picture
