"""The caption's page shows the training image that verify found in an index."""

import io
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scanner.evidence.training_images.place import ImagePlace
from scanner.evidence.training_images.sample_images import SampleImages
from scanner.query import RunTables, open_run
from scanner.review import Site, make_site, open_index
from scanner.run import Output
from scanner.run.verdicts import FOLDER, TABLES, VERDICTS, verdict_commits
from scanner.storage import Roots, Store
from tests.review.sites import TOKEN, ask, small_run


def site_of(folder: Path, source: str, allowed: str) -> Site:
    """The first caption of a small run has a verdict whose source is the third caption's image."""
    run = small_run(folder)
    verdict = {
        "caption_id": "0000",
        "verdict": "seed-consistent",
        "reason": "the seeds agree",
        "source_match": "other",
        "source_keys": ["k3"],
        "source_similarities": [0.97],
        "source_file": source,
        "source_row": 0,
        "source_caption_ids": ["0003", "unranked"],
        "verified_at": 1.0,
    }
    table = pa.Table.from_pylist([verdict], VERDICTS)
    verdict_commits(Store(run)).commit("one", [Output(f"{FOLDER}/{TABLES}", table)])
    tables = open_run(run)
    roots = Roots.of([allowed], [])
    return make_site(tables, open_index(tables, None), None, roots, f"/{TOKEN}", "ann", False)


def save_images(folder: Path) -> str:
    folder.mkdir()
    with io.BytesIO() as file:
        Image.new("RGB", (8, 8), "red").save(file, "PNG")
        png = file.getvalue()
    pq.write_table(pa.table({"image": [png]}), folder / "a.parquet")
    return str(folder / "a.parquet")


@pytest.mark.slow
def test_it_is_shown_with_its_captions(tmp_path: Path) -> None:
    source = save_images(tmp_path / "data")
    site = site_of(tmp_path, source, str(tmp_path / "data"))
    page = ask(site, "/caption/0000").body.decode()
    assert "nearest of all training images, similarity 0.97" in page
    assert f'href="/{TOKEN}/caption/0003"' in page
    shown = ask(site, "/image/0000/source/0")
    assert shown.status == 200
    with Image.open(io.BytesIO(shown.body)) as image:
        red, green, _ = image.convert("RGB").getpixel((4, 4))
        assert red > 200 > 60 > green
    assert ask(site, "/image/0001/source/0").status == 404
    assert "of all training images" not in ask(site, "/caption/0001").body.decode()


@pytest.mark.slow
def test_an_image_outside_the_allowed_folders_is_not_read(tmp_path: Path) -> None:
    source = save_images(tmp_path / "private")
    (tmp_path / "data").mkdir()
    site = site_of(tmp_path, source, str(tmp_path / "data"))
    assert ask(site, "/image/0000/source/0").status == 404


@pytest.mark.slow
def test_it_is_found_by_its_key_in_a_tar_beside_its_table(tmp_path: Path) -> None:
    """As img2dataset writes them."""
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.add(tmp_path / "red.png", "k3.png")
    pq.write_table(pa.table({"key": ["k3"]}), folder / "a.parquet")
    site = site_of(tmp_path, str(folder / "a.parquet"), str(folder))
    assert ask(site, "/image/0000/source/0").status == 200


@pytest.mark.slow
def test_a_template_leads_to_images_in_a_folder(tmp_path: Path) -> None:
    """As of a csv of captions, which has no images."""
    (tmp_path / "images").mkdir()
    run = small_run(tmp_path)
    tables = open_run(run)
    (sample,) = tables.query("FROM samples WHERE caption_id = '0000' LIMIT 1").to_pylist()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "images" / f"{sample['source']}.png")
    place = ImagePlace(images=f"{tmp_path}/images/{{source}}.png")
    pages = f"/{TOKEN}", "ann", False
    index = open_index(tables, None)
    site = make_site(tables, index, None, Roots.of([], []), *pages, place)
    assert ask(site, "/image/0000/training/0").status == 200
    assert ask(site, "/image/0001/training/0").status == 404
    assert site.pictures.samples.at(sample["source"], sample["row"])[0]["row"] == sample["row"]


@pytest.mark.slow
def test_a_slow_image_delays_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_images(tmp_path / "data")
    site = site_of(tmp_path, source, str(tmp_path / "data"))
    began, goes_on = threading.Event(), threading.Event()
    read = SampleImages.images

    def read_slowly(images: SampleImages, samples: list[Any]) -> list[Any]:
        began.set()
        assert goes_on.wait(60)
        return read(images, samples)

    monkeypatch.setattr(SampleImages, "images", read_slowly)
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(site.pictures.webp, "0000", "source", 0)
        try:
            assert began.wait(60)
            other = threads.submit(site.pictures.webp, "0001", "generated", 0)
            assert other.result(60) is None
        finally:
            goes_on.set()
        assert slow.result(60) is not None


@pytest.mark.slow
def test_kept_samples_do_not_wait_for_a_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = site_of(tmp_path, save_images(tmp_path / "data"), str(tmp_path / "data"))
    known = site.pictures.samples.of("0001")
    began, goes_on = threading.Event(), threading.Event()
    query = RunTables.query

    def query_slowly(tables: RunTables, *arguments: Any) -> Any:
        began.set()
        assert goes_on.wait(60)
        return query(tables, *arguments)

    monkeypatch.setattr(RunTables, "query", query_slowly)
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(site.pictures.samples.of, "0000")
        try:
            assert began.wait(60)
            assert threads.submit(site.pictures.samples.of, "0001").result(60) == known
        finally:
            goes_on.set()
        assert slow.result(60)
