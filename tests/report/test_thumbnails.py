"""Images on a report come only from the run, or from locations that the user allowed."""

import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scanner.captions.limits import IMAGE_BYTES
from scanner.errors import UserError
from scanner.evidence.training_images.place import ImagePlace
from scanner.models.loading import local_tokenizer
from scanner.models.spec import ModelSpec
from scanner.report.thumbnails import (
    CaptionImages,
    fit_thumbnails,
    image_roots,
    read_images,
    read_stored,
)
from scanner.storage import Store
from tests.logs import logged


def save_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def thumbnails_of(
    run: Path, name: str, *input_roots: str, source: str | None = None, **columns
) -> tuple[CaptionImages[bytes], str]:
    row = {"caption_id": "c", "images": [name], "reference_source": source, "reference_row": 0}
    row |= columns
    roots = image_roots({"inputs": {"captions": [str(run.parent / "data")]}}, input_roots)
    with logged() as messages:
        images = read_images(Store(str(run)), [row], 1, roots)
    return images["c"], " ".join(messages)


@pytest.mark.parametrize(
    "name",
    ["../private/x.png", "{}/private/x.png", "file://{}/private/x.png", "http://127.0.0.1:9/x",
     "reference://x::file://{}/private/x.png", "%2e%2e/private/x.png", "out/x.png"],
)  # fmt: skip
def test_images_outside_the_run_are_refused(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_image(tmp_path / "private/x.png")
    save_image(run / "verdicts/a.png")
    (run / "out").symlink_to(tmp_path / "private")
    thumbnails, messages = thumbnails_of(run, name.format(tmp_path))
    assert thumbnails.generated == {}
    assert "1 images of verdicts are not shown, such as" in messages
    assert len(thumbnails_of(run, "verdicts/a.png")[0].generated) == 1


def test_images_that_cannot_be_shown_are_counted(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/damaged.png").write_bytes(b"x")
    for name in ("missing.png", "damaged.png"):
        images, messages = thumbnails_of(tmp_path / "run", name)
        assert f"'{name}' (missing or damaged)" in messages
        rows = [{"caption_id": "c", "images": [name]}]
        assert fit_thumbnails({"c": images}, rows, 1000).left_out == 1


def test_images_of_verify_out_need_an_input_root(tmp_path: Path) -> None:
    name = str(save_image(tmp_path / "kept/images/a.png"))
    assert thumbnails_of(tmp_path / "run", name)[0].generated == {}
    allowed, _ = thumbnails_of(tmp_path / "run", name, str(tmp_path / "kept"))
    assert len(allowed.generated) == 1


@pytest.mark.slow
def test_an_image_is_read_up_to_the_limit(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"))
    for path in (tmp_path / "run/images/a.png", tmp_path / "kept/a.png"):
        save_image(path)
        with path.open("r+b") as file:
            file.truncate(4 * IMAGE_BYTES)
    for name in ("images/a.png", str(tmp_path / "kept/a.png")):
        assert len(read_stored(store, name) or b"") == IMAGE_BYTES + 1


def test_training_images_must_be_below_the_scans_captions(tmp_path: Path) -> None:
    png = save_image(tmp_path / "x.png").read_bytes()
    for folder in ("data", "private"):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"image": [png]}), tmp_path / folder / "a.parquet")
    run = tmp_path / "run"
    allowed, _ = thumbnails_of(run, "none.png", source=f"{tmp_path}/data/a.parquet")
    assert allowed.training
    for source in (f"{tmp_path}/private/a.parquet", "http://127.0.0.1:9/a.parquet"):
        thumbnails, messages = thumbnails_of(run, "none.png", source=source)
        assert thumbnails.training is None
        assert f"{source} is refused" in messages


def test_the_image_of_another_caption_is_shown_if_it_matches(tmp_path: Path) -> None:
    png = save_image(tmp_path / "x.png").read_bytes()
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"image": [png]}), tmp_path / "data/a.parquet")
    place = {"source_file": f"{tmp_path}/data/a.parquet", "source_row": 0}
    run = tmp_path / "run"
    matched, _ = thumbnails_of(run, "none.png", source_match="other", **place)
    assert matched.source[8:12] == b"WEBP"
    assert matched.training is None
    own, _ = thumbnails_of(run, "none.png", source_match="own", **place)
    assert own.source is None


def test_a_template_leads_to_the_training_image(tmp_path: Path) -> None:
    save_image(tmp_path / "images/k1.png")
    sample = {"source": f"{tmp_path}/captions.csv", "row": 0, "key": "k1"}
    row = {"caption_id": "c", "images": ["none.png"], "reference_source": sample["source"]}
    row |= {"reference_row": 0, "reference_sample": sample}
    place = ImagePlace(images=f"{tmp_path}/images/{{key}}.png")
    store = Store(str(tmp_path / "run"))
    images = read_images(store, [row], 1, image_roots({"inputs": {"captions": []}}, ()), place)
    assert images["c"].training[8:12] == b"WEBP"


def test_a_run_s_model_is_not_fetched_for_its_tokenizer() -> None:
    for name in (
        "http://127.0.0.1:9/model",
        "s3://theirs/model",
        "simplecache::http://127.0.0.1:9/m",
    ):
        with pytest.raises(UserError, match="not fetched"):
            local_tokenizer(ModelSpec(name))
        with pytest.raises(UserError, match="not fetched"):
            local_tokenizer(ModelSpec("testbed", config=name))
    assert local_tokenizer(ModelSpec("testbed"))


def test_a_tar_beside_a_parquet_file_has_the_image_by_key(tmp_path: Path) -> None:
    png = save_image(tmp_path / "x.png")
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"key": ["k1"]}), tmp_path / "data/a.parquet")
    with tarfile.open(tmp_path / "data/a.tar", "w") as tar:
        tar.add(png, "k1.png")
    source = f"{tmp_path}/data/a.parquet"
    sample = {"source": source, "row": 0, "key": "k1"}
    found, _ = thumbnails_of(tmp_path / "run", "none.png", source=source, reference_sample=sample)
    assert found.training[8:12] == b"WEBP"
    missing, messages = thumbnails_of(tmp_path / "run", "none.png", source=source)
    assert missing.training is None
    assert "no image with its key in the tar" in messages
