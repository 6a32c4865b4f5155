"""The report in a real browser: hostile captions, search, sorting, light, dark and print."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from jobs.calibrate import main as calibrate
from jobs.report import ReportConfig, write_report
from scanner.storage import Store
from tests.pages import opened
from tests.query.runs import make_run, trigger
from tests.whole_scans import make_captions

HOSTILE = (
    "<script>window.ran=1</script> <img src=x onerror=window.ran=2> \u202eright to left\u202c "
    "</td></table></script><svg onload=window.ran=3> {{ 7*7 }} '); DROP TABLE scores; --"
)
LONG = "word " * 2000
RECORD = {
    "model": {"name": "testbed", "revision": None},
    "asked": {"model": "testbed", "model_config": None, "profile": "standard"},
}
FINGERPRINT = {"seeds": 1, "steps": 50, "guidance": 7.5, "dtype": "float32"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    choose = random.Random(0)
    captions = [HOSTILE, LONG, *make_captions(1200)]
    rows = [
        {
            "caption_id": f"{number:04}",
            "caption": caption,
            "n_samples": 1 + number % 3,
            "noise_norm_first": 10.0 - number / 200,
            "entropy_e": choose.gauss(3, 0.5),
            "bos_mass": choose.random(),
            "triggers": [trigger(caption, caption.split()[0], 0.5)],
            "url": "https://<b>shop</b>.example/1.jpg",
        }
        for number, caption in enumerate(captions)
    ]
    folder = tmp_path_factory.mktemp("report") / "run"
    return make_run(folder, rows, fingerprint=FINGERPRINT, record=RECORD)


@pytest.fixture(scope="module")
def file(run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(ReportConfig(run, str(out)), "memscan report")
    return out


@pytest.fixture
def shown(browser: Browser, file: Path) -> Iterator[Page]:
    with opened(browser, file) as page:
        yield page


def test_a_thousand_captions_fit_into_five_megabytes(file: Path) -> None:
    assert file.stat().st_size < 5_000_000


def test_a_calibration_without_labels_and_a_bucket_will_do(
    run: str, s3: str, tmp_path: Path
) -> None:
    listed = str(tmp_path / "list.json")
    assert calibrate([run, "--null", "bulk", "--by", "noise_norm_first", "--out", listed]) == 0
    config = ReportConfig(run, f"{s3}/pages/report.html", calibration=listed)
    written = write_report(config, "memscan report")
    page = Store(f"{s3}/pages").read("report.html")
    assert len(page) == written
    assert b"The calibration was judged on" not in page


def test_hostile_captions_are_text(shown: Page) -> None:
    cells = shown.locator("#ranked td.caption")
    assert cells.count() == 1000
    assert cells.nth(0).inner_text().strip() == HOSTILE.strip()
    assert shown.evaluate("window.ran") is None
    assert shown.locator("main script:not([type='application/json']), main img").count() == 0
    # A caption of ten thousand characters scrolls in its cell, and the page stays in its width.
    assert cells.nth(1).bounding_box()["height"] < 200
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_search_and_sort_work_by_keyboard(shown: Page) -> None:
    shown.locator("#search").focus()
    shown.keyboard.type("DROP table")
    visible = shown.locator("#ranked tbody tr:visible")
    assert visible.count() == 1
    assert shown.locator("#count").inner_text() == "1 of 1000 captions"
    shown.locator("#search").fill("")
    button = shown.get_by_role("button", name="entropy_e")
    button.focus()
    shown.keyboard.press("Enter")
    column = "#ranked tbody tr td:nth-child(6)"
    values = [float(text) for text in shown.locator(column).all_inner_texts()]
    assert values == sorted(values, reverse=True)
    assert shown.locator("th[aria-sort=descending]").inner_text().startswith("entropy_e")
    shown.keyboard.press("Enter")
    values = [float(text) for text in shown.locator(column).all_inner_texts()]
    assert values == sorted(values)


def test_triggers_are_marked_and_charts_have_words(shown: Page) -> None:
    assert shown.locator("#ranked td.caption .trigger").count() >= 999
    charts = shown.locator(".chart")
    assert charts.count() == 3
    for number in range(charts.count()):
        assert len(charts.nth(number).get_attribute("aria-label") or "") > 40


def test_dark_and_print_have_their_colours(browser: Browser, file: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, file, "dark") as page:
        assert page.evaluate(colour) == "rgb(21, 23, 26)"
        page.emulate_media(media="print")
        assert page.evaluate(colour) == "rgb(255, 255, 255)"
        assert not page.locator("#search").is_visible()
