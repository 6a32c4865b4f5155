"""An index has every distinct image once, also after a kill, and counts what it lacks."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from scanner.errors import UserError
from scanner.evidence.index.build import IndexResult, index_images
from scanner.evidence.index.config import IndexConfig
from scanner.evidence.index.find import find_images
from scanner.evidence.index.plan import ItemSizes
from scanner.evidence.index.shards import shard_schema
from tests.curation.runs import loudness, make_run
from tests.evidence.index.pictures import encoded, write_shard, write_tar
from tests.sessions import kill_session, start_held
from tests.waiting import wait_until

SIZES = ItemSizes(4, 8)


def index(*inputs: Path | str, out: Path, **options) -> IndexResult:
    config = IndexConfig(inputs=tuple(map(str, inputs)), out=str(out), **options)
    return index_images(config, lambda _: None, SIZES)


def rows_of(out: Path) -> list[dict]:
    """Return the rows of an index as its manifest lists them, without the vectors."""
    return table_of(out).drop_columns(["vector"]).to_pylist()


def table_of(out: Path) -> pa.Table:
    manifest = json.loads(max(out.glob("manifest-*.json")).read_text())
    tables = [pq.read_table(out / part["path"]) for part in manifest["shards"]]
    return pa.concat_tables(tables)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two parquet files and a tar; pictures 1 and 2 occur in both files, some rows are damaged."""
    (tmp_path / "data").mkdir()
    write_shard(tmp_path / "data/a.parquet", [*range(11), b"no image", 1], row_group_size=3)
    write_shard(tmp_path / "data/b.parquet", [2, 20, 21, 2, None])
    write_tar(tmp_path / "data/c.tar", {"x.txt": b"t", "x.png": encoded(30), "y.txt": b"u"})
    return tmp_path / "data"


def test_every_distinct_image_is_indexed_once(data: Path, tmp_path: Path) -> None:
    result = index(data, out=tmp_path / "index")
    assert result.record.counts == {
        "images": 14, "samples": 17, "unreadable": 3, "missing": 0, "unreadable_files": 0
    }  # fmt: skip
    assert result.manifest.reasons == {
        "unreadable image: not an image": 1,
        "no image in this row": 1,
        "no image with its key in the tar": 1,
    }
    rows = rows_of(tmp_path / "index")
    assert [(row["source"], row["row"]) for row in rows] == [
        *((str(data / "a.parquet"), row) for row in range(11)),
        *((str(data / "b.parquet"), row) for row in (1, 2)),
        (str(data / "c.tar"), 0),
    ]
    assert {row["row"]: row["samples"] for row in rows[:3]} == {0: 1, 1: 2, 2: 3}
    assert rows[1]["image_key"] == "https://images.example/1"
    assert [row["key"] for row in rows[-3:]] == ["b-1", "b-2", "x"]
    table = table_of(tmp_path / "index")
    assert table.schema.equals(shard_schema(320))
    assert not any("caption" in name for name in table.schema.names)
    bad = pq.read_table(tmp_path / "index/unreadable").to_pylist()
    assert sorted((row["row"], row["reason"]) for row in bad)[-1] == (
        11, "unreadable image: not an image"
    )  # fmt: skip


@pytest.mark.slow
def test_an_index_of_a_run_leaves_out_reference_samples(data: Path, tmp_path: Path) -> None:
    others = str(write_shard(tmp_path / "others.parquet", [99]))
    run = make_run(tmp_path / "run", loudness, captions=(str(data),), reference=(others,))
    result = index(run, out=tmp_path / "index")
    assert result.record.counts["images"] == 14
    assert rows_of(tmp_path / "index") == rows_of_files(data, tmp_path)
    with pytest.raises(UserError, match="a run has its own keys"):
        index(run, out=tmp_path / "index", image_key="none")


def rows_of_files(data: Path, tmp_path: Path) -> list[dict]:
    index(data, out=tmp_path / "files")
    return rows_of(tmp_path / "files")


def test_images_at_a_path_template_are_indexed(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in (0, 2):
        (tmp_path / f"images/a-{number}.png").write_bytes(encoded(number))
    write_shard(tmp_path / "a.parquet", [0, 1, 2])
    (tmp_path / "images/a-9.png").write_bytes(b"never named")
    template = f"{tmp_path}/images/{{key}}.png"
    result = index(tmp_path / "a.parquet", out=tmp_path / "index", images=template)
    assert result.manifest.reasons == {"--images: FileNotFoundError": 1}
    assert [row["key"] for row in rows_of(tmp_path / "index")] == ["a-0", "a-2"]


def test_a_killed_index_resumes_to_the_undisturbed_one(data: Path, tmp_path: Path) -> None:
    write_shard(data / "d.parquet", list(range(40, 60)), row_group_size=2)
    undisturbed = index(data, out=tmp_path / "whole")
    call = (
        "from scanner.evidence.index.config import IndexConfig as C;"
        "from scanner.evidence.index.plan import ItemSizes as S;"
        "module.index_images(C(inputs=(sys.argv[2],), out=sys.argv[3]), lambda _: None, S(4, 8))"
    )
    out = tmp_path / "killed"
    driver = start_held("scanner.evidence.index.build", call, str(data), str(out))
    try:
        wait_until(lambda: list(out.glob("commits/*.json")), "nothing is committed")
    finally:
        kill_session(driver)
    assert len(list(out.glob("commits/*.json"))) == 1
    with pytest.raises(UserError, match="no finished index here"):
        find_images([], str(out), 1)
    resumed = index(data, out=out)
    assert len(list(out.glob("commits/*.json"))) > 4
    assert resumed.record == undisturbed.record
    assert table_of(out).equals(table_of(tmp_path / "whole"))
    again = index(data, out=out)
    assert (again.images_per_second, again.manifest) == (0, resumed.manifest)
    assert len(list(out.glob("manifest-*.json"))) == 1


def test_an_index_of_other_images_is_not_mixed_in(data: Path, tmp_path: Path) -> None:
    index(data, out=tmp_path / "index")
    write_shard(data / "e.parquet", [70])
    with pytest.raises(UserError, match=r"other images or settings \(files\)"):
        index(data, out=tmp_path / "index")


def test_a_learned_embedding_is_pinned_by_its_hash(data: Path, tmp_path: Path) -> None:
    class Means(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.adaptive_avg_pool2d(pictures, 4).flatten(1)

    path = tmp_path / "means.pt"
    torch.jit.script(Means()).save(str(path))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    options = {"embedding": str(path), "embedding_sha256": sha256}
    result = index(data / "b.parquet", out=tmp_path / "index", **options)
    assert result.record.embedding == {"name": "means.pt", "sha256": sha256}
    assert result.record.dimension == 48
    norms = np.linalg.norm(np.stack(table_of(tmp_path / "index")["vector"].to_pylist()), axis=1)
    assert norms == pytest.approx(1, abs=1e-2)
    with pytest.raises(UserError, match=f"made with the embedding means.pt .*{sha256}"):
        find_images([], str(tmp_path / "index"), 1)


def test_nothing_to_index_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(UserError, match=r"no images to index .*a.parquet"):
        index(tmp_path / "a.parquet", out=tmp_path / "index")
