"""Near-duplicates in the index of a review, against the definition in SQL."""

from pathlib import Path

import pytest

from scanner.query import caption_words, open_run
from scanner.review import ReviewIndex, open_index
from scanner.review.near import near_duplicates
from tests.query.runs import make_run
from tests.query.test_clusters import FAMILY_CAPTIONS, SINGLES
from tests.review.sites import ask, small_site

TEXTS = [
    *FAMILY_CAPTIONS,
    *SINGLES,
    *(
        "赤い猫の写真",
        "赤い猫の絵",
        "ภาพแมวสีแดงตัวใหญ่",
        "ภาพแมวสีแดงตัวเล็ก",
        "हिन्दी में बिल्ली",
        "हिन्दी में कुत्ता",
    ),
    *('"', '" OR "', "!!! ???", "\x00", "under_score and_more", "under score and more"),
    " ".join(f"word{n}" for n in range(40)),
    " ".join(f"word{n}" for n in range(20, 60)) + " …",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [
        {"caption_id": f"{n:04}", "caption": text, "noise_norm_first": 100.0 - n, "entropy_e": 1.0}
        for n, text in enumerate(TEXTS)
    ]
    return make_run(tmp_path_factory.mktemp("near") / "run", rows, fingerprint={"seeds": 1})


def pairs_in_sql(run: str) -> set[frozenset[str]]:
    """All pairs of captions with a Jaccard index of at least 0.5, compared one by one."""
    sql = """
        SELECT a.caption_id AS a, b.caption_id AS b FROM captions AS a, captions AS b
        WHERE a.caption_id < b.caption_id
        AND word_jaccard_reaches(word_set(a.caption), word_set(b.caption), 0.5)"""
    return {frozenset(row.values()) for row in open_run(run).query(sql).to_pylist()}


def pairs_of(index: ReviewIndex) -> set[frozenset[str]]:
    return {
        frozenset([caption.caption_id, other.caption_id])
        for caption in index.captions(range(len(index)))
        for other, _ in near_duplicates(index, caption)
    }


@pytest.mark.slow
def test_the_index_finds_every_near_duplicate_that_sql_does(run: str) -> None:
    tables = open_run(run)
    found = pairs_of(open_index(tables))
    assert found == pairs_in_sql(run)
    ids = {text: f"{n:04}" for n, text in enumerate(TEXTS)}
    assert frozenset([ids["赤い猫の写真"], ids["赤い猫の絵"]]) in found


def test_words_are_those_of_sql(run: str) -> None:
    sql = "SELECT words(caption) AS words FROM captions ORDER BY caption_id"
    in_sql = open_run(run).query(sql)["words"].to_pylist()
    for text, words, expected in zip(TEXTS, caption_words(TEXTS), in_sql, strict=True):
        assert words == expected or (words, expected) == ([], [text.lower().strip()]), text


@pytest.mark.slow
def test_a_page_links_and_finds_words_between_which_is_no_space(run: str, tmp_path: Path) -> None:
    site = small_site(tmp_path, run=run)
    number = TEXTS.index("赤い猫の写真")
    assert "赤い猫の絵" in ask(site, f"/caption/{number:04}").body.decode()
    for query in ("q=%E7%8C%AB", "template=%E8%B5%A4%E3%81%84*%E7%B5%B5"):  # 猫, 赤い*絵
        assert "赤い猫の絵" in ask(site, f"/queue?{query}").body.decode()
    assert ask(site, "/queue?q=%22%00%22&template=%22*%00").status == 200
