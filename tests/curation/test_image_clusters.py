"""Image clusters count as one image, and caps keep the least memorized sample."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.curation import curate
from scanner.errors import UserError
from scanner.query import RunTables, open_run
from scanner.run.image_tables import (
    IMAGE_CLUSTERS,
    IMAGE_CLUSTERS_FOLDER,
    SAMPLE_SCORES,
    SAMPLE_SCORES_FOLDER,
    add_tables,
)
from scanner.storage import Store
from tests.curation.runs import LOUD, loudness, make_run, policy, rule, write_rows

# v1 is a copy of u1, v2 of u2.
ROWS = [
    *[("loud a", "u1"), ("loud a", "u2"), ("loud a", "u3"), ("quiet", "v1"), ("quiet", "u9")],
    *[("loud b", "v2"), ("quiet", "u3")],
]
CLUSTERS = {"u1": ("A", 32), "v1": ("A", 32), "u2": ("B", 32), "v2": ("B", 64), "u3": ("C", 32)}
CLID = {("loud a", "u1"): 5.0, ("loud a", "u2"): 2.0, ("quiet", "v1"): 1.0}


def add(run: str, folder: str, name: str, rows: list[dict], schema: pa.Schema) -> None:
    table = pa.Table.from_pylist(rows, schema)
    add_tables(Store(run), folder, name, lambda _: [table], {})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clustered")
    data = write_rows(folder / "a.jsonl", ROWS)
    made = make_run(folder / "run", loudness, captions=(str(data),), keep=("url", "score"))
    ids = open_run(made).query("FROM captions").to_pylist()
    ids = {row["caption"]: row["caption_id"] for row in ids}
    clusters = [
        {"image": image, "cluster": name, "width": side, "height": side, "grouped_at": 1.0}
        for image, (name, side) in CLUSTERS.items()
    ]
    add(made, IMAGE_CLUSTERS_FOLDER, "g", clusters, IMAGE_CLUSTERS)
    scores = [
        {"caption_id": ids[caption], "image": image, "clid": clid, "scored_at": 1.0}
        for (caption, image), clid in CLID.items()
    ]
    older = [{**row, "clid": 9 - row["clid"], "scored_at": 0.0} for row in scores]
    add(made, SAMPLE_SCORES_FOLDER, "s", scores, SAMPLE_SCORES)
    add(made, SAMPLE_SCORES_FOLDER, "older", older, SAMPLE_SCORES)
    return made


@pytest.fixture
def tables(run: str) -> RunTables:
    return open_run(run)


def listed(run: str, tables: RunTables, given: dict, out: Path) -> dict[int, tuple]:
    """Action, key of the kept sample, and whether it is removed with an image, by row."""
    curate(run, tables, policy(given), str(out))
    rows = pq.read_table(out / "removal_list.parquet").to_pylist()
    return {
        row["row"]: (row["action"], row["kept_key"], row["reasons"][-1] == "same-image")
        for row in rows
    }


@pytest.mark.slow
def test_a_cap_of_clusters_keeps_the_least_memorized(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    """In A the lowest clid, under another caption; in B the largest image, as one has no score."""
    given = rule("loud", LOUD, "cap", of="image_cluster")
    assert listed(run, tables, given, tmp_path) == {
        0: ("cap", "3", False),
        3: ("keep", None, True),
        1: ("keep", None, False),
        5: ("cap", "1", False),
        2: ("keep", None, False),
        6: ("cap", "2", True),
    }


@pytest.mark.slow
def test_a_cap_of_captions_keeps_the_lowest_score(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    """And what is removed with its image names what the caption's cap keeps."""
    given = rule("loud", "caption = 'loud a'", "cap")
    assert listed(run, tables, given, tmp_path) == {
        0: ("cap", "1", False),
        1: ("keep", None, False),
        2: ("cap", "1", False),
        6: ("cap", "1", True),
    }


@pytest.mark.slow
def test_a_larger_image_is_kept_before_the_first_key(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    given = rule("b", "caption = 'loud b'", "cap", of="image_cluster")
    found = listed(run, tables, given, tmp_path)
    # Row 1 is of another caption, which has a score for u2; without scores, size decides.
    assert found == {1: ("keep", None, True), 5: ("cap", "1", False)}
    fresh = open_run(run)
    fresh.connection.execute("ALTER VIEW sample_scores RENAME TO all_sample_scores")
    fresh.define_view("sample_scores", "FROM all_sample_scores WHERE false")
    found = listed(run, fresh, given, tmp_path)
    assert found == {1: ("cap", "5", True), 5: ("keep", None, False)}


@pytest.mark.slow
def test_a_drop_takes_the_same_image_along(run: str, tables: RunTables, tmp_path: Path) -> None:
    found = listed(run, tables, rule("loud", LOUD, "drop", of="image_cluster"), tmp_path)
    shared = {row for row, (_, _, is_shared) in found.items() if is_shared}
    assert found.keys() == {0, 1, 2, 3, 5, 6}
    assert shared == {3, 6}
    assert {(action, kept) for action, kept, _ in found.values()} == {("drop", None)}


@pytest.mark.slow
def test_a_plain_drop_leaves_other_keys(run: str, tables: RunTables, tmp_path: Path) -> None:
    found = listed(run, tables, rule("loud", LOUD, "drop"), tmp_path)
    assert found.keys() == {0, 1, 2, 5, 6}


@pytest.mark.slow
def test_columns_of_the_input_keep_their_values(tmp_path: Path) -> None:
    """Some are named like columns of the clusters, the scores and the query itself."""
    names = ("cluster", "clid", "width", "image", "_kept", "_group", "kept_key")
    row = {"id": "0", "caption": "loud a", "url": "u1"}
    columns = {name: [f"mine {name}"] for name in names}
    pq.write_table(
        pa.table({**{k: [v] for k, v in row.items()}, **columns}), tmp_path / "a.parquet"
    )
    made = make_run(tmp_path / "run", loudness, captions=(str(tmp_path / "a.parquet"),), keep=names)
    add(made, IMAGE_CLUSTERS_FOLDER, "g", [{"image": "u1", "cluster": "A"}], IMAGE_CLUSTERS)
    curate(
        made, open_run(made), policy(rule("loud", LOUD, "cap", of="image_cluster")), str(tmp_path)
    )
    (found,) = pq.read_table(tmp_path / "removal_list.parquet").to_pylist()
    assert found["action"] == "keep"
    for name in names:
        stored = found.get(f"kept_{name}", found.get(name))
        assert stored == f"mine {name}", name


def test_a_rule_of_clusters_needs_clusters(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", ROWS)
    made = make_run(tmp_path / "run", loudness, captions=(str(data),))
    with pytest.raises(UserError, match="no image clusters; make them with memscan group-images"):
        listed(made, open_run(made), rule("x", LOUD, "cap", of="image_cluster"), tmp_path / "o")
