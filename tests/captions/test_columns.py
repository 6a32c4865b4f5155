import pytest

from scanner.captions.columns import resolve
from scanner.errors import UserError


@pytest.mark.parametrize(
    ("have", "caption", "key", "image_key"),
    [
        (["SAMPLE_ID", "URL", "TEXT", "HEIGHT", "similarity"], "TEXT", "SAMPLE_ID", "URL"),  # LAION
        (["id", "url", "text", "width", "clip_similarity_vitb32"], "text", "id", "url"),  # COYO
        (["uid", "url", "text", "sha256"], "text", "uid", "url"),  # DataComp
        (["caption", "key", "sha256", "status"], "caption", "key", "sha256"),  # img2dataset
        (["top_caption", "hash"], "top_caption", "hash", "hash"),
    ],
)
def test_names_in_use_are_found(have, caption, key, image_key) -> None:
    found = resolve(have, "a.parquet")
    assert (found.caption, found.key, found.image_key) == (caption, key, image_key)


def test_two_candidates_are_an_error_that_lists_them() -> None:
    with pytest.raises(UserError, match=r"TEXT.*caption|caption.*TEXT"):
        resolve(["TEXT", "caption"], "a.csv")
    assert resolve(["TEXT", "caption"], "a.csv", caption="text").caption == "TEXT"
    with pytest.raises(UserError, match="--key-column"):
        resolve(["caption", "id", "uid"], "a.csv")


def test_a_missing_column_lists_what_is_there() -> None:
    with pytest.raises(UserError, match=r"a.csv: no caption column among x, y.*--caption-column"):
        resolve(["x", "y"], "a.csv")
    with pytest.raises(UserError, match="no column 'z'"):
        resolve(["caption"], "a.csv", keep=("z",))


def test_without_a_key_or_url_there_is_none() -> None:
    found = resolve(["caption"], "a.csv")
    assert (found.key, found.image_key, found.keep) == (None, None, ())


def test_a_kept_column_may_not_take_the_name_of_one_of_ours() -> None:
    with pytest.raises(UserError, match="has a column of that name"):
        resolve(["caption", "row"], "a.csv", keep=("row",))
