from pathlib import Path

import pytest

from scanner.captions.batch import Contents
from scanner.captions.columns import ColumnOptions, Columns, resolve, resolve_all
from scanner.captions.formats import inspect
from scanner.errors import UserError


@pytest.mark.parametrize(
    ("have", "caption", "key", "image_key"),
    [
        # LAION-400M and -2B; -2B with its hashes; -Aesthetics
        (["SAMPLE_ID", "URL", "TEXT", "HEIGHT", "similarity"], "TEXT", "SAMPLE_ID", "URL"),
        (["SAMPLE_ID", "URL", "TEXT", "LICENSE", "hash", "punsafe"], "TEXT", "SAMPLE_ID", "URL"),
        (["URL", "TEXT", "AESTHETIC_SCORE", "hash"], "TEXT", "hash", "URL"),
        # COYO-700M
        (["id", "url", "text", "width", "image_phash", "word_count"], "text", "id", "url"),
        # DataComp: its metadata; downloaded
        (["uid", "url", "text", "original_width", "sha256"], "text", "uid", "url"),
        (
            ["url", "caption", "key", "status", "error_message", "sha256", "uid"],
            "caption", "uid", "url",
        ),
        # CC12M, SBU, PD12M
        (["caption", "url"], "caption", None, "url"),
        (["image_url", "user_id", "caption"], "caption", None, "image_url"),
        (["captions", "url"], "captions", None, "url"),
        (["id", "url", "caption", "width", "hash", "license", "source"], "caption", "id", "url"),
        # img2dataset
        (
            ["url", "caption", "key", "status", "error_message", "width", "exif", "sha256"],
            "caption", "key", "url",
        ),
        (["caption", "key", "sha256", "status"], "caption", "key", "sha256"),
        # Hugging Face: image and text, DiffusionDB, WebDataset with txt and json
        (["image", "text"], "text", None, None),
        (["image_name", "prompt", "seed", "step", "cfg"], "prompt", None, None),
        (["top_caption", "hash"], "top_caption", "hash", "hash"),
        (["caption", "url", "txt", "key"], "caption", "key", "url"),
        (["txt", "key"], "txt", "key", None),
    ],
)  # fmt: skip
def test_names_in_use_are_found(have, caption, key, image_key) -> None:
    found = resolve(have, "a.parquet")
    assert (found.caption, found.key, found.image_key) == (caption, key, image_key)


def test_two_candidates_are_an_error_that_lists_them() -> None:
    with pytest.raises(UserError, match=r"TEXT.*caption|caption.*TEXT"):
        resolve(["TEXT", "caption"], "a.csv")
    assert resolve(["TEXT", "caption"], "a.csv", ColumnOptions(caption="text")).caption == "TEXT"
    with pytest.raises(UserError, match="--key-column"):
        resolve(["caption", "id", "uid"], "a.csv")


def test_none_is_no_column() -> None:
    none = ColumnOptions(key="none", image_key="none", keep=("none",))
    found = resolve(["caption", "id", "url"], "a.csv", none)
    assert (found.key, found.image_key, found.keep) == (None, None, ())


def test_a_missing_column_lists_what_is_there() -> None:
    with pytest.raises(UserError, match=r"a.csv: no caption column among x, y.*--caption-column"):
        resolve(["x", "y"], "a.csv")
    with pytest.raises(UserError, match="no column 'z'"):
        resolve_all({"a.csv": Contents(["caption"])}, ColumnOptions(keep=("z",)))


def test_without_a_key_or_url_there_is_none() -> None:
    found = resolve(["caption"], "a.csv")
    assert (found.key, found.image_key, found.keep) == (None, None, ())


def test_a_kept_column_may_not_take_the_name_of_one_of_ours() -> None:
    with pytest.raises(UserError, match="has a column of that name"):
        resolve(["caption", "row"], "a.csv", ColumnOptions(keep=("row",)))


def test_status_column_counts_only_in_img2dataset_output() -> None:
    assert resolve(["url", "caption", "key", "status"], "a.parquet").status == "status"
    assert resolve(["url", "caption", "status"], "a.parquet").status is None


def _all(*files: list[str], is_open: bool = False, **options) -> list[Columns | UserError]:
    contents = {str(n): Contents(names, (), is_open) for n, names in enumerate(files)}
    return list(resolve_all(contents, ColumnOptions(**options)).values())


def test_a_column_that_some_files_lack_is_none_there() -> None:
    options = {"key": "id", "image_key": "md5", "keep": ("URL", "size")}
    first, second = _all(["caption", "url"], ["TEXT", "ID", "MD5", "Size"], **options)
    assert first == Columns("caption", None, None, ("url",))
    assert second == Columns("TEXT", "ID", "MD5", ("Size",))
    with pytest.raises(UserError, match="no column 'size'"):
        _all(["caption", "url"], ["TEXT", "ID", "MD5"], **options)


def test_a_file_in_doubt_takes_what_the_other_files_have() -> None:
    found = _all(["caption", "text", "id", "uid"], ["caption", "uid"], ["other"])
    assert [getattr(one, "caption", None) for one in found] == ["caption", "caption", None]
    assert found[0].key == "uid"
    with pytest.raises(UserError, match="more than one column could be the caption"):
        _all(["caption", "text"], ["prompt"])


def test_rows_of_an_open_file_may_have_what_its_first_ones_lack() -> None:
    found = _all(["id"], ["id", "text"], is_open=True)
    assert [one.caption for one in found] == ["text", "text"]
    assert [one.caption for one in _all(["id"], is_open=True, caption="late")] == ["late"]
    (alone,) = _all(["id"], ["text"])[:1]
    assert isinstance(alone, UserError)


@pytest.mark.parametrize("options", [{"caption": "late"}, {"key": "uid"}, {"keep": ("md5",)}])
def test_a_column_in_no_row_of_whole_files_is_refused(tmp_path: Path, options: dict) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b", "id": 1}\n')
    files = {"a.jsonl": inspect(str(tmp_path / "a.jsonl"))}
    with pytest.raises(UserError, match=r"no column '.*'; the columns are text, id"):
        resolve_all(files, ColumnOptions(**options))
    assert resolve_all(files, ColumnOptions(key="id"))["a.jsonl"].key == "id"
