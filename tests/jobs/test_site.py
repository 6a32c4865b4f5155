"""The documentation site has every page as GitHub shows it, and loads nothing from elsewhere."""

import http.server
import re
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Browser

import scanner
from jobs.cli import COMMANDS
from jobs.development import site as command
from jobs.development.options_page import config_of, options_of
from jobs.development.site.arrangement import ROOT, arranged, repository_pages
from jobs.development.site.navigation import PARTS
from scanner.query import library
from scanner.scoring.catalog import SIGNALS
from tests.jobs.site_texts import Texts, texts_of
from tests.query.test_query import make_run

pytestmark = pytest.mark.slow
# Without their output, and diagrams that GitHub draws.
NOTEBOOKS, DIAGRAM = ".ipynb", ("code", "graphTD")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as the command builds it."""
    out = tmp_path_factory.mktemp("site")
    assert command.main(["--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Texts]:
    """The pages of the site, by path."""
    found = site.rglob("*.html")
    return {
        path.relative_to(site).as_posix(): texts_of(path.read_text(encoding="utf-8"))
        for path in found
    }


def _articles(site: Path, source: str) -> Counter[tuple[str, str]]:
    """The texts of all pages of the site that come from a page of the repository."""
    paths = [page.path for page in arranged()[0] if page.source == source]
    texts: Counter[tuple[str, str]] = Counter()
    for path in paths:
        html = (site / path).with_suffix(".html").read_text(encoding="utf-8")
        texts += texts_of(html, "article").texts
    return texts


@pytest.mark.parametrize("source", [one for one in repository_pages() if NOTEBOOKS not in one])
def test_page_is_on_the_site_as_github_shows_it(source: str, site: Path) -> None:
    markdown = MarkdownIt("commonmark").enable("table")
    expected = texts_of(markdown.render((ROOT / source).read_text(encoding="utf-8"))).texts
    shown = _articles(site, source)
    lost = {
        text: count
        for text, count in (expected - shown).items()
        if (text[0], text[1][: len(DIAGRAM[1])]) != DIAGRAM
    }
    assert not lost


def test_four_parts_lead_to_every_page(site: Path) -> None:
    home = texts_of((site / "index.html").read_text(encoding="utf-8"))
    reached, pending = set(), [site / "index.html"]
    while pending:
        page = pending.pop()
        reached.add(page)
        links = [
            urlsplit(one).path
            for one in texts_of(page.read_text(encoding="utf-8")).links
            if not urlsplit(one).scheme
        ]
        found = {(page.parent / link).resolve() for link in links if link.endswith(".html")}
        pending += [one for one in found if one not in reached and one not in pending]
    written = {path.resolve() for path in site.rglob("*.html") if path.name != "404.html"}
    assert written <= {path.resolve() for path in reached}
    assert list(PARTS) == ["Tutorial", "How-to", "Reference", "Explanation"]
    assert home.links


def test_links_and_anchors_lead_somewhere(site: Path, pages: dict[str, Texts]) -> None:
    checked = 0
    for path, page in pages.items():
        if path == "404.html":
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (site / path).parent / unquote(parts.path) if parts.path else site / path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path}: {link}"
            if parts.fragment and target.suffix == ".html":
                name = target.resolve().relative_to(site.resolve()).as_posix()
                assert unquote(parts.fragment) in pages[name].ids, f"{path}: {link}"
                checked += 1
    assert checked > 500


def test_nothing_is_loaded_from_other_hosts(site: Path, pages: dict[str, Texts]) -> None:
    for path, page in pages.items():
        assert page.loaded
        for url in page.loaded:
            parts = urlsplit(url)
            assert parts.scheme in ("", "data"), f"{path}: {url}"
            assert not parts.netloc, f"{path}: {url}"
    for style in site.rglob("*.css"):
        css = style.read_text(encoding="utf-8")
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", css), style


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_row(name: str, pages: dict[str, Texts]) -> None:
    page = pages[f"jobs/options/memscan-{name.replace('_', '-')}.html"]
    options = [flag.strip("`") for flag, _ in options_of(config_of(f"jobs.{name}"))]
    assert options
    assert [one for one in options if not page.texts["cell", one]] == []


def test_every_signal_and_column_of_a_run_has_its_row(
    pages: dict[str, Texts], tmp_path: Path
) -> None:
    scores = scanner.Scorer(scanner.load_model("testbed"), profile="all").schema
    tables = scanner.open_run(make_run(tmp_path / "run"))
    names = set(SIGNALS) | {name for name in scores.names if not name.endswith("_seeds")}
    for table in ("samples", "rejects", "verdicts", "sample_scores", "image_clusters"):
        names |= set(tables.query(f"FROM {table} LIMIT 0").column_names)
    assert len(names) > 60
    page = pages["reference/columns.html"]
    assert [name for name in sorted(names) if not page.texts["cell", name]] == []


def test_every_query_shows_its_sql(pages: dict[str, Texts]) -> None:
    for name, query in library().items():
        code = [text for kind, text in pages[f"sql/{name}.html"].texts if kind == "code"]
        statement = [line for line in query.sql.splitlines() if not line.startswith("--")]
        assert "".join("".join(statement).split()) in code, name


def test_every_public_name_has_its_section(pages: dict[str, Texts]) -> None:
    page = pages["reference/python.html"]
    for name in set(scanner.__all__) - {"__version__"}:
        assert name.lower() in page.ids
    assert {"scorerscore", "guardloss_weights", "runtables", "removalfilterkept"} <= page.ids


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The address of a server with the site."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_search_finds_pages_without_other_hosts(browser: Browser, served: str) -> None:
    page = browser.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{served}/index.html")
    page.locator(".md-search__input").first.fill("quarantine")
    page.wait_for_selector(".md-search-result__item", timeout=60_000)
    assert page.locator(".md-search-result__item").count() > 2
    page.close()
    assert errors == []
    assert [one for one in requests if not one.startswith((served, "data:", "blob:"))] == []


@pytest.mark.parametrize("path", ["index", "jobs/verify", "reference/columns", "sql/rank"])
def test_phone_shows_a_page_in_its_width(path: str, browser: Browser, served: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{served}/{path}.html")
    width = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert width <= 390
