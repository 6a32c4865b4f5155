"""Queues, decisions and exports of a small run, by requests."""

import io
import re
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from scanner.calibration import reviewed_precision
from scanner.query import open_run
from scanner.review import Site
from scanner.review.sampling import stratified_sample
from scanner.review.selection import Filters
from tests.review.sites import HOSTILE, Answer, ask, caption, decide, small_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return small_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def fresh(tmp_path: Path) -> Site:
    return small_site(tmp_path)


def listed(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return re.findall(r'class="item[^"]*" data-id="([^"]*)"', answer.body.decode())


def selected(site: Site, query: str) -> list[int]:
    pairs = dict(pair.split("=", 1) for pair in query.split("&"))
    return site.selections.positions(Filters.of(pairs)).tolist()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=fox poster", [n for n in range(60) if n % 3 == 0 and n != 5]),
        ("q=FOX cat1", []),
        ("q=!!!", []),
        ("template=poster of a * number * by artist", [n for n in range(60) if n % 3 == 0]),
        ("samples=4", [n for n in range(60) if n % 4 == 3]),
        ("low=9&high=9.5", [5, 6, 7, 8, 9, 10]),
        ("source=part-1.csv", [n for n in range(60) if n % 2 == 1]),
        ("where=entropy_e < 0 OR n_samples > 3", [n for n in range(60) if n % 4 == 3]),
        (
            "where=n_samples > 3&q=cat1",
            [n for n in range(60) if n % 4 == 3 and n % 7 == 1 and n % 3],
        ),
        ("cluster=0000", [n for n in range(60) if n % 3 == 0]),
        ("decided=no", list(range(60))),
        ("verdict=verbatim", []),
    ],
)
def test_filters_select_these_captions(site: Site, query: str, expected: list[int]) -> None:
    assert selected(site, query) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("order=random", "must be one of ranking, uncertain, sample"),
        ("order=uncertain", "needs probabilities"),
        ("n=0", "must be from 1"),
        ("low=nan", "must be a finite number"),
        ("samples=x", "must be a number"),
        ("where=1); DROP TABLE scores; --", "must be one SQL predicate"),
        ("where=nothing > 1", "nothing"),
        ("where=read_text('/etc/passwd') = ''", "not allowed|must only read|where"),
        ("cluster=zzz", "no ranked caption has this id"),
        ("decided=maybe", "must be one of any"),
    ],
)
def test_invalid_filters_say_what_is_wrong(site: Site, query: str, message: str) -> None:
    answer = ask(site, f"/queue?{query.replace(' ', '%20')}")
    assert answer.status == 400
    assert re.search(message, answer.body.decode())


def test_pages_of_the_queue_follow_each_other(site: Site) -> None:
    pages = [listed(ask(site, f"/queue?page={page}")) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [25, 25, 10]
    assert [int(one) for page in pages for one in page] == list(range(60))
    assert listed(ask(site, "/queue?page=99")) == pages[2]


def test_hostile_captions_are_text(site: Site) -> None:
    for path in ("/queue", "/caption/0005", "/queue?q=%3Cscript%3E", "/summary"):
        text = ask(site, path).body.decode()
        assert "<script>window" not in text
        assert "<img src=x" not in text
        assert "<svg onload" not in text


def test_a_caption_shows_its_signals_and_neighbors(site: Site) -> None:
    text = ask(site, "/caption/0006?q=fox").body.decode()
    assert "noise_norm_first" in text
    assert "Near-duplicates" in text
    assert 'rel="prev" href="/tttt' in text
    samples = ask(site, "/caption/0006/samples").json
    assert [row["source"] for row in samples["samples"]] == ["part-0.csv"] * 3
    assert ask(site, "/caption/none").status == 404
    assert ask(site, "/image/0006/generated/0").status == 404


def test_statements_add_up_and_undo_takes_back(fresh: Site) -> None:
    decide(fresh, "ann", ["0001", "0002"], label="verbatim")
    decide(fresh, "ann", ["0001"], decision="drop", note="seen")
    answer = decide(fresh, "bob", ["0001"], label="none").json
    stated = {one["reviewer"]: one for one in answer["captions"]["0001"]}
    assert (stated["ann"]["label"], stated["ann"]["decision"]) == ("verbatim", "drop")
    assert listed(ask(fresh, "/queue?decided=disputed")) == ["0001"]
    assert listed(ask(fresh, "/queue?decided=yes")) == ["0001", "0002"]
    assert ask(fresh, "/undo", {"reviewer": "ann"}).json["undone"] == 1
    assert fresh.book.statements("0001")["ann"].decision is None
    assert fresh.book.statements("0001")["ann"].label == "verbatim"
    assert ask(fresh, "/undo", {"reviewer": "ann"}).json["undone"] == 2
    assert set(fresh.book.all()["0001"]) == {"bob"}
    again = ask(fresh, "/undo", {"reviewer": "ann"})
    assert (again.status, again.json["error"]) == (400, "ann has no decision to undo")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        {"reviewer": "", "captions": ["0001"], "stated": {"label": "none"}},
        {"reviewer": "ann", "captions": ["0001"], "stated": {"label": "evil"}},
        {"reviewer": "ann", "captions": ["0001"], "stated": {}},
        {"reviewer": "ann", "captions": ["0001"], "stated": {"path": "/etc"}},
        {"reviewer": "ann", "captions": ["nowhere"], "stated": {"label": "none"}},
        {"reviewer": "ann", "captions": [], "stated": {"label": "none"}},
        {"reviewer": "ann", "captions": ["0001"], "stated": {"note": "x" * 2001}},
        {"reviewer": "ann", "selection": "q=fox", "count": 3, "stated": {"label": "none"}},
    ],
)
def test_invalid_decisions_change_nothing(site: Site, body: object) -> None:
    answer = ask(site, "/decide", body)
    assert answer.status == 400
    assert answer.json["error"]
    assert site.book.all() == {}


@pytest.mark.slow
def test_precision_is_that_of_the_view_of_decisions(fresh: Site) -> None:
    """Of samples of several sizes, a caption keeps its highest probability of being drawn."""
    ids = [f"{n:04}" for n in range(60)]
    decide(fresh, "ann", ids[:20], "order=sample&n=30", label="verbatim")
    decide(fresh, "ann", ids[:10], "order=sample&n=5", label="verbatim")
    decide(fresh, "bob", ids[5:15], "order=sample&n=10", label="verbatim")
    decide(fresh, "bob", ids[30:32], "order=sample&n=60", label="none")
    decide(fresh, "bob", ids[16:18], "order=sample&n=60", label="none")
    ask(fresh, "/undo", {"reviewer": "bob"})
    shown = fresh.precision()
    assert any(one.drawn and one.drawn < one.depth for one in shown)
    assert shown == reviewed_precision(open_run(fresh.tables.url))


@pytest.mark.slow
def test_two_servers_see_each_other_s_decisions(fresh: Site, tmp_path: Path) -> None:
    other = small_site(tmp_path, run=fresh.tables.url)
    decide(fresh, "ann", ["0001"], label="verbatim")
    decide(other, "bob", ["0001", "0002"], decision="keep")
    decide(fresh, "ann", ["0003"], decision="cap")
    fresh.book.refresh()
    assert set(fresh.book.statements("0001")) == {"ann", "bob"}
    tables = open_run(fresh.tables.url)
    assert tables.query("SELECT count(*) AS n FROM decisions")["n"].to_pylist() == [4]


def test_bulk_decisions_keep_their_sampling_probability(fresh: Site) -> None:
    query = "order=sample&n=10"
    drawn = listed(ask(fresh, f"/queue?{query}"))
    assert len(drawn) == 10
    body = {"reviewer": "ann", "selection": query, "count": 10, "stated": {"label": "none"}}
    assert ask(fresh, "/decide", body).status == 200
    decide(fresh, "ann", drawn[:1], label="template")  # later, not by the sample
    rows = open_run(fresh.tables.url).query("FROM decisions").to_pylist()
    assert {row["caption_id"] for row in rows} == set(drawn)
    assert {row["sampling_probability"] for row in rows} == {10 / 60}
    assert "Precision of the ranking" in ask(fresh, "/summary").body.decode()


def test_a_sample_represents_the_whole_ranking() -> None:
    hashes = np.random.default_rng(0).integers(0, 1 << 63, 20_000, np.uint64)
    sample, larger = (stratified_sample(hashes, size) for size in (400, 800))
    assert len(sample.positions) == len(np.unique(sample.positions)) == 400
    assert (1 / sample.probabilities).sum() == pytest.approx(20_000)
    assert set(sample.positions) <= set(larger.positions)
    assert (sample.positions < 100).sum() == 100
    assert sample.probability(int(sample.positions[3])) == sample.probabilities[3]
    assert sample.probability(19_999_999) is None
    for size in (0, 1, 30_000):
        assert len(stratified_sample(hashes, size).positions) == min(size, 20_000)


def test_exports_hold_the_selection(site: Site) -> None:
    table = pyarrow.csv.read_csv(io.BytesIO(ask(site, "/export.csv?samples=4").body))
    assert table["rank"].to_pylist() == [n + 1 for n in range(60) if n % 4 == 3]
    whole = pq.read_table(io.BytesIO(ask(site, "/export.parquet").body))
    assert whole["caption"].to_pylist()[4:6] == [caption(4), HOSTILE]
    policy = tomllib.loads(ask(site, "/export.toml?samples=4&action=cap").body.decode())
    assert policy["rule"] == [
        {"reason": "reviewed-selection", "when": "n_samples >= 4", "action": "cap"}
    ]
    by_id = tomllib.loads(ask(site, "/export.toml?q=cat1%20dog1").body.decode())
    assert by_id["rule"][0]["when"] == "caption_id IN ('0001')"
    assert ask(site, "/export.toml").status == 200
    assert ask(site, "/export.toml?q=nothing").status == 400
    assert ask(site, "/export.exe").status == 404
    assert ask(site, "/decisions.csv").headers["content-disposition"].startswith("attachment")


@pytest.mark.slow
def test_an_index_is_kept_and_made_again(tmp_path: Path) -> None:
    site = small_site(tmp_path)
    made = (tmp_path / "index/captions.sqlite").stat().st_mtime_ns
    small_site(tmp_path, run=site.tables.url)
    assert (tmp_path / "index/captions.sqlite").stat().st_mtime_ns == made
    (tmp_path / "index/index.json").write_text("{}")
    small_site(tmp_path, run=site.tables.url)
    assert (tmp_path / "index/captions.sqlite").stat().st_mtime_ns != made
