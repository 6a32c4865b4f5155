"""The ranked captions in a real browser: near-duplicates, facets, addresses and images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from jobs.report import ReportConfig, write_report
from tests.pages import opened
from tests.report.verified_runs import ODD, SEEDS, verified_run

VISIBLE = "#ranked tbody:visible"
VERDICTS = {0: "verbatim", 1: "none", 2: "template", 4: "verbatim"}
CAPTIONS = 120
ODD_ADDRESSES = (
    *("#sort=nothing-up", "#verdict=nothing&page=-3", "#page=x", "#%", "#=", "#grouped="),
    "#policy",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranking")
    run = verified_run(folder, CAPTIONS, VERDICTS)
    write_report(ReportConfig(run, str(folder / "report.html")), "memscan report")
    return folder / "report.html"


@pytest.fixture
def shown(browser: Browser, file: Path) -> Iterator[Page]:
    with opened(browser, file) as page:
        yield page


@contextmanager
def visited(browser: Browser, file: Path, address: str) -> Iterator[Page]:
    """The page at an address, as a link that someone was sent opens it."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    try:
        page.goto(file.as_uri() + address)
        yield page
    finally:
        page.close()


def ranks(page: Page) -> list[int]:
    return [int(text) for text in page.locator(f"{VISIBLE} tr:first-child a").all_inner_texts()]


def facet(page: Page, name: str) -> dict[str, str]:
    """The values of a facet, each with the text shown."""
    options = f"[data-facet={name}] option:not([value=''])"
    found = "all => all.map(one => [one.value, one.textContent.replace(/[\\u2066-\\u2069]/g, '')])"
    return dict(page.eval_on_selector_all(options, found))


def choose(page: Page, name: str, value: str) -> None:
    page.locator(f"[data-facet={name}]").select_option(value)


def test_near_duplicates_are_one_row_that_opens(shown: Page) -> None:
    assert shown.locator("#count").inner_text() == "120 captions, 91 rows"
    assert ranks(shown)[:4] == [1, 2, 3, 4]
    assert ranks(shown)[4] == 6  # 5 is a near-duplicate of 1
    toggle = shown.get_by_role("button", name="Show 29 near-duplicates")
    toggle.press("Enter")
    assert ranks(shown)[:31] == [*range(1, 118, 4), 2]
    toggle = shown.get_by_role("button", name="Hide 29 near-duplicates")
    assert toggle.get_attribute("aria-expanded") == "true"
    assert toggle.evaluate("one => one === document.activeElement")
    shown.keyboard.press("Enter")
    assert len(ranks(shown)) == 50
    shown.get_by_label("one row per group of near-duplicates").uncheck()
    assert shown.locator("#count").inner_text() == "120 captions"
    assert ranks(shown) == list(range(1, 51))


def test_facets_filter_and_count_the_others(shown: Page) -> None:
    assert facet(shown, "verdict") == {
        "not verified": "not verified (116)",
        "verbatim": "verbatim (2)",
        "none": "none (1)",
        "template": "template (1)",
    }
    assert facet(shown, "rule") == {
        "no rule": "no rule (117)",
        "copy-verified": "copy-verified (3)",
    }
    assert facet(shown, "action") == {"none": "none (117)", "cap": "cap (3)"}
    choose(shown, "verdict", "verbatim")
    shown.get_by_label("one row per group of near-duplicates").uncheck()
    assert ranks(shown) == [1, 5]
    assert shown.locator("#count").inner_text() == "2 of 120 captions"
    assert facet(shown, "source")[ODD] == f"{ODD} (0)"
    assert facet(shown, "verdict")["none"] == "none (1)"
    shown.get_by_role("button", name="Clear search and filters").press("Enter")
    choose(shown, "source", ODD)
    assert ranks(shown)[:3] == [2, 4, 6]
    assert shown.evaluate("window.ran") is None
    choose(shown, "source", "")
    choose(shown, "cluster", next(iter(facet(shown, "cluster"))))
    # A single group is shown caption by caption.
    assert ranks(shown) == list(range(1, 118, 4))


def test_the_row_says_what_the_policy_does(shown: Page) -> None:
    why = shown.locator(f"#caption-{2:032x} .why").inner_text()
    assert "policy: cap (copy-verified), removes 2 samples" in why


def test_an_address_restores_the_view(browser: Browser, file: Path) -> None:
    address = "#q=ALPHA&verdict=not+verified&sort=entropy_e-up&page=2"
    with visited(browser, file, address) as page:
        assert page.locator("#search").input_value() == "ALPHA"
        assert page.locator("#page").inner_text() == "Page 2 of 2"
        assert page.locator("th[aria-sort=ascending]").inner_text().startswith("entropy_e")
        column = f"{VISIBLE} td:nth-child(6)"
        values = [float(text) for text in page.locator(column).all_inner_texts()]
        assert values == sorted(values)
        assert len(values) == 88 - 50
        page.reload()
        assert page.locator("#page").inner_text() == "Page 2 of 2"
        choose(page, "verdict", "none")
        assert ranks(page) == [2]
        assert "verdict=none" in page.url
        assert "page=" not in page.url
        page.go_back()
        page.wait_for_function("document.querySelector('#page').innerText === 'Page 2 of 2'")
        page.get_by_role("button", name="Previous").press("Enter")
        assert page.locator("#page").inner_text() == "Page 1 of 2"
        page.get_by_role("button", name="Show all 88 rows").press("Enter")
        assert len(ranks(page)) == 88


def test_odd_addresses_show_the_ranking(browser: Browser, file: Path) -> None:
    with visited(browser, file, "") as page:
        for address in ODD_ADDRESSES:
            page.goto("about:blank")  # else only the fragment changes
            page.goto(file.as_uri() + address)
            assert ranks(page)[:4] == [1, 2, 3, 4], address
            assert len(ranks(page)) == 50, address


def test_a_row_has_an_address_wherever_it_is(browser: Browser, file: Path) -> None:
    hidden = f"#caption-{116:032x}"  # the last of the near-duplicates
    with visited(browser, file, hidden) as page:
        assert page.locator(hidden).is_visible()
        assert 0 <= page.locator(hidden).bounding_box()["y"] < 800
        assert len(ranks(page)) == 50 + 29
        choose(page, "verdict", "none")
        page.evaluate(f"location.hash = '#caption-{119:032x}'")
        page.wait_for_function("document.querySelector('#page').innerText === 'Page 2 of 2'")
        last = page.locator(f"#caption-{119:032x}")
        assert 0 <= last.bounding_box()["y"] < 800
        assert last.get_by_role("link").first.get_attribute("href") == f"#caption-{119:032x}"


def test_numbers_have_their_names_on_a_phone(shown: Page) -> None:
    shown.set_viewport_size({"width": 390, "height": 844})
    name = "cells => cells.map((cell) => getComputedStyle(cell, '::before').content)"
    cells = shown.locator(f"#caption-{1:032x} tr:first-child td")
    names = [f'"{name} "' for name in ("samples", "probability", "noise_norm_first", "entropy_e")]
    assert cells.evaluate_all(name) == ["none", "none", *names, "none"]
    assert shown.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("width", [1280, 390])
def test_images_are_enlarged_beside_the_original(shown: Page, width: int) -> None:
    shown.set_viewport_size({"width": width, "height": 844})
    row = shown.locator(f"#caption-{1:032x}")
    assert row.locator("img").count() == 1 + SEEDS
    for image in row.locator("img").all():
        assert image.bounding_box()["height"] > 100
    second = row.get_by_role("button", name="seed 1")
    second.press("Enter")
    viewer = shown.get_by_role("dialog")
    notes = viewer.locator("figcaption")
    assert notes.all_inner_texts() == ["training image", "seed 1"]
    for image in viewer.locator("img").all():
        box = image.bounding_box()
        assert min(box["width"], box["height"]) > 250
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= 844
        assert image.evaluate("image => image.naturalWidth") == 512
    shown.keyboard.press("ArrowRight")
    assert notes.all_inner_texts() == ["training image", "seed 2"]
    viewer.get_by_role("button", name="previous seed").click()
    assert viewer.get_by_role("status").inner_text() == "2 of 4"
    assert viewer.locator(".title").inner_text() == "alpha1 beta1 gamma1"
    shown.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert second.evaluate("one => one === document.activeElement")


def test_without_scripts_rows_and_images_are_shown(browser: Browser, file: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{file.as_uri()}#caption-{116:032x}")
        assert ranks(page) == list(range(1, CAPTIONS + 1))
        assert page.locator("#ranked img:visible").count() == len(VERDICTS) * (1 + SEEDS)
        assert page.locator("button:visible:enabled, select:visible").count() == 0
        assert 0 <= page.locator(f"#caption-{116:032x}").bounding_box()["y"] < 800


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_charts_use_the_width_and_have_tooltips(shown: Page, width: int) -> None:
    shown.set_viewport_size({"width": width, "height": 844})
    room = shown.locator("main").evaluate("one => one.clientWidth - 32")
    enough = "([room]) => [...document.querySelectorAll('.chart svg')].every(({ clientWidth }) =>"
    enough += " clientWidth <= room && clientWidth > 0.93 * room)"
    shown.wait_for_function(enough, arg=[room])
    for chart, word in ((0, "share"), (1, "90th percentile"), (2, "rank correlation")):
        marks = shown.locator(".chart").nth(chart).locator("g.mark-rect path, g.mark-symbol path")
        marks.first.hover(force=True)
        tip = shown.locator("#vg-tooltip-element")
        tip.wait_for(state="visible")
        assert word in tip.inner_text()
        shown.mouse.move(0, 0)


@pytest.mark.slow
def test_a_page_with_many_images_stays_small(tmp_path: Path) -> None:
    numbers = range(0, 240, 2)
    verdicts = dict.fromkeys(numbers, "verbatim")
    # So colorful that few images do not fit as they are.
    run = verified_run(tmp_path, 1000, verdicts, (192, 192), seeds=1, colors=192)
    out = tmp_path / "report.html"
    written = write_report(ReportConfig(run, str(out)), "memscan report")
    assert 3_000_000 < written < 5_000_000
    text = out.read_text()
    assert text.count("data:image/webp") == 100 * (1 + 1)
    assert "They are at most 128 pixels" in text
    assert "the images of 20 verified captions are not on this page" in text
