"""Images of the testbed grouped as a user does it: killed, started again, given by a file."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.query import open_run
from tests.evidence.planted import MEMORIZED, OTHERS, planted_rows
from tests.evidence.testbed_runs import run_over
from tests.memscan import called
from tests.sessions import kill_session, start_held
from tests.waiting import wait_until

IMAGES = MEMORIZED + 2 * OTHERS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_over(planted_rows(), tmp_path_factory.mktemp("grouped"))


@pytest.fixture(scope="module")
def undisturbed(run: str) -> str:
    """A copy of the run, before anything was grouped."""
    return shutil.copytree(run, f"{run}-undisturbed")


def group(run: str, *options: str) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scanner.evidence.group_images.drive.GROUP", 8)
        return json.loads(called("group-images", run, *options, "--json").stdout)


@pytest.fixture(scope="module")
def grouped(run: str, undisturbed: str) -> dict[str, Any]:
    """The command killed after its first commit, and the same again, to its end."""
    call = (
        "import scanner.evidence.group_images.drive as drive; drive.GROUP = 8; "
        "from jobs.group_images import main; sys.exit(main(sys.argv[2:]))"
    )
    module = "scanner.evidence.training_images.group_runner"
    driver = start_held(module, call, run, "--where", "true", "--json")

    def commits() -> int:
        return len(list(Path(run).glob("image_clusters/*/commits/*.json")))

    try:
        wait_until(lambda: commits() or driver.poll() is not None, "nothing is committed")
    finally:
        kill_session(driver)
    assert commits() == 1
    return group(run, "--where", "true")


@pytest.mark.slow
def test_copies_under_other_captions_are_found(run: str, grouped: dict) -> None:
    assert (grouped["images"], grouped["missing_images"]) == (IMAGES, 0)
    rows = open_run(run).query("FROM image_clusters").to_pylist()
    cluster = {row["image"]: row["cluster"] for row in rows}
    keys = {row["key"]: row for row in rows}
    for number in range(OTHERS):
        copy = keys[f"planted {number}"]
        assert copy["cluster"] == cluster[keys[f"planted {number % MEMORIZED}"]["image"]]
        assert copy["width"] == (96 if number % 3 else 32)
    assert grouped["clusters"] == MEMORIZED
    assert grouped["grouped"] == MEMORIZED + OTHERS
    assert grouped["largest"] == 1 + OTHERS // MEMORIZED


@pytest.mark.slow
def test_a_resumed_grouping_equals_an_undisturbed_one(
    run: str, undisturbed: str, grouped: dict
) -> None:
    fresh = group(undisturbed, "--where", "true")
    changing = ("images_per_second", "out")
    assert [fresh[name] for name in fresh if name not in changing] == [
        grouped[name] for name in grouped if name not in changing
    ]
    query = "SELECT * EXCLUDE (grouped_at) FROM image_clusters ORDER BY image"
    assert open_run(undisturbed).query(query) == open_run(run).query(query)


@pytest.mark.slow
def test_clusters_of_a_file_take_the_place_of_hashes(
    run: str, grouped: dict, tmp_path: Path
) -> None:
    """By URL or by key; with --where, near-duplicates of an image in the file join it."""
    url = "copy 0"
    pq.write_table(
        pa.table({"URL": [url, "absent"], "Cluster": ["mine", "x"]}), tmp_path / "a.parquet"
    )
    given = group(run, "--image-clusters", str(tmp_path / "a.parquet"))
    assert (given["images"], given["clusters"]) == (1, 0)
    both = group(run, "--image-clusters", str(tmp_path / "a.parquet"), "--where", "true")
    rows = open_run(run).query("FROM image_clusters WHERE cluster = 'mine'").to_pylist()
    assert both["images"] == IMAGES
    assert len(rows) == 1 + OTHERS // MEMORIZED
    (tmp_path / "b.csv").write_text("key,cluster\nplanted 1,7\nplanted 2,7\n")
    keyed = group(run, "--image-clusters", str(tmp_path / "b.csv"))
    assert (keyed["images"], keyed["grouped"]) == (2, 2)
    # The newest grouping is the view.
    assert group(run, "--where", "true")["grouped"] == grouped["grouped"]
    assert open_run(run).query("FROM image_clusters").num_rows == IMAGES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"key": ["a"], "cluster": ["1"]}, "none of its 1 rows names a sample"),
        ({"name": ["a"], "cluster": ["1"]}, "needs a column cluster, and key, image_key, url"),
        ({"key": ["a"]}, "needs a column cluster"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    run: str, table: dict, message: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table(table), tmp_path / "clusters.parquet")
    words = ("--image-clusters", str(tmp_path / "clusters.parquet"))
    done = called("group-images", run, *words, check=False)
    assert done.returncode == 1
    assert message in done.stderr


def test_options_that_choose_nothing_are_refused() -> None:
    assert "--where" in called("group-images", "RUN", check=False).stderr
    done = called("group-images", "RUN", "--where", "true", "--distance", "17", check=False)
    assert "--distance 17: must be 0 to 16" in done.stderr
