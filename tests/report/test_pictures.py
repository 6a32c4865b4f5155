"""Pictures on a report: of the run, or of places that the user named, and no others."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scanner.errors import UserError
from scanner.models.loading import tokenizer_of
from scanner.report.pictures import pictures, roots_of
from scanner.storage import Store
from tests.logs import logged


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def drawn(run: Path, name: str, *input_roots: str, source: str | None = None) -> tuple[dict, str]:
    row = {"caption_id": "c", "images": [name], "reference_source": source, "reference_row": 0}
    roots = roots_of({"inputs": {"captions": [str(run.parent / "data")]}}, input_roots)
    with logged() as lines:
        shown = pictures(Store(str(run)), [row], 1, roots)
    return shown["c"], " ".join(lines)


@pytest.mark.parametrize(
    "name",
    ["../private/x.png", "{}/private/x.png", "file://{}/private/x.png", "http://127.0.0.1:9/x",
     "reference://x::file://{}/private/x.png", "%2e%2e/private/x.png", "out/x.png"],
)  # fmt: skip
def test_a_verdict_shows_no_picture_from_outside_the_run(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    picture(tmp_path / "private/x.png")
    picture(run / "verdicts/a.png")
    (run / "out").symlink_to(tmp_path / "private")
    shown, said = drawn(run, name.format(tmp_path))
    assert shown["drawn"] == []
    assert "1 pictures of verdicts refused, such as" in said
    assert len(drawn(run, "verdicts/a.png")[0]["drawn"]) == 1


def test_pictures_that_verify_kept_elsewhere_need_the_user_s_word(tmp_path: Path) -> None:
    name = str(picture(tmp_path / "kept/images/a.png"))
    assert drawn(tmp_path / "run", name)[0]["drawn"] == []
    assert len(drawn(tmp_path / "run", name, str(tmp_path / "kept"))[0]["drawn"]) == 1


def test_training_images_lie_below_the_captions_of_the_scan(tmp_path: Path) -> None:
    png = picture(tmp_path / "x.png").read_bytes()
    for folder in ("data", "private"):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"image": [png]}), tmp_path / folder / "a.parquet")
    run = tmp_path / "run"
    assert drawn(run, "none.png", source=f"{tmp_path}/data/a.parquet")[0]["trained"]
    for source in (f"{tmp_path}/private/a.parquet", "http://127.0.0.1:9/a.parquet"):
        shown, said = drawn(run, "none.png", source=source)
        assert shown["trained"] is None
        assert f"{source} is refused" in said


def test_a_run_s_model_is_not_fetched_for_its_words() -> None:
    for name in (
        "http://127.0.0.1:9/model",
        "s3://theirs/model",
        "simplecache::http://127.0.0.1:9/m",
    ):
        with pytest.raises(UserError, match="not fetched"):
            tokenizer_of(name, None, None)
        with pytest.raises(UserError, match="not fetched"):
            tokenizer_of("testbed", None, name)
    assert tokenizer_of("testbed", None, None)
