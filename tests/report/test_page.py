"""The report in a real browser: hostile captions, search, sorting, dark mode and print."""

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
VISIBLE = "#ranked tbody:visible"
REASON = "noise_norm_first in the top 1 %"
RECORD = {
    "model": {"name": "testbed", "revision": None},
    "options": {"model": {"name": "testbed", "config": None}, "scoring": {"profile": "standard"}},
}
FINGERPRINT = {"seeds": 1, "steps": 50, "guidance": 7.5, "dtype": "float32"}
VERDICTS = ("none", "verbatim", "none", "template")


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
        # Captions of a few random words are near-duplicates now and then.
        page.get_by_label("one row per group of near-duplicates").uncheck()
        yield page


@pytest.mark.slow
def test_a_thousand_captions_fit_into_five_megabytes(file: Path) -> None:
    assert file.stat().st_size < 5_000_000


def test_an_unlabeled_calibration_and_a_bucket_are_supported(
    run: str, s3: str, tmp_path: Path
) -> None:
    listed = str(tmp_path / "list.json")
    assert calibrate([run, "--null", "bulk", "--by", "noise_norm_first", "--out", listed]) == 0
    config = ReportConfig(run, f"{s3}/pages/report.html", calibration=listed)
    written = write_report(config, "memscan report")
    page = Store(f"{s3}/pages").read("report.html")
    assert len(page) == written
    assert b"The calibration was evaluated on" not in page


def test_hostile_captions_are_text(shown: Page) -> None:
    cells = shown.locator("#ranked td.caption")
    assert cells.count() == 1000
    assert cells.nth(0).inner_text().strip() == HOSTILE.strip()
    assert shown.evaluate("window.ran") is None
    assert shown.locator("main script:not([type='application/json']), main img").count() == 0
    # A caption of ten thousand characters scrolls in its cell without widening the page.
    assert cells.nth(1).bounding_box()["height"] < 200
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_search_and_sort_work_by_keyboard(shown: Page) -> None:
    shown.locator("#search").focus()
    shown.keyboard.type(" table  drop ")
    assert shown.locator(VISIBLE).count() == 1
    assert shown.locator("#count").inner_text() == "1 of 1,000 captions"
    shown.locator("#search").fill("drop noise_norm")
    assert shown.locator(VISIBLE).count() == 1
    hidden = shown.locator("#ranked td.caption").nth(700).inner_text()
    shown.locator("#search").fill(" ".join(reversed(hidden.split())))
    assert shown.locator(f"{VISIBLE} td.caption").all_inner_texts() == [hidden]
    shown.locator("#search").fill("cat nowhere")
    assert shown.locator("#count").inner_text() == "0 of 1,000 captions"
    shown.locator("#search").fill("")
    button = shown.get_by_role("button", name="entropy_e")
    button.focus()
    shown.keyboard.press("Enter")
    shown.get_by_role("button", name="Show all 1,000 rows").press("Enter")
    column = f"{VISIBLE} tr td:nth-child(6)"
    values = [float(text) for text in shown.locator(column).all_inner_texts()]
    assert len(values) == 1000
    assert values == sorted(values, reverse=True)
    assert shown.locator("th[aria-sort=descending]").inner_text().startswith("entropy_e")
    button.press("Enter")
    values = [float(text) for text in shown.locator(column).all_inner_texts()]
    assert values == sorted(values)
    assert shown.locator(VISIBLE).count() == 50


def test_fifty_captions_are_a_page(shown: Page) -> None:
    assert shown.locator(VISIBLE).count() == 50
    assert shown.locator("#count").inner_text() == "1,000 captions"
    assert shown.locator("#page").inner_text() == "Page 1 of 20"
    assert shown.get_by_role("button", name="Previous").is_disabled()
    following = shown.get_by_role("button", name="Next")
    following.press("Enter")
    assert shown.locator("#page").inner_text() == "Page 2 of 20"
    assert shown.locator(f"{VISIBLE} tr:first-child a").first.inner_text() == "51"
    assert following.evaluate("button => button === document.activeElement")
    shown.get_by_role("button", name="Show all 1,000").press("Enter")
    assert shown.locator(VISIBLE).count() == 1000
    fewer = shown.get_by_role("button", name="Show pages")
    assert fewer.evaluate("button => button === document.activeElement")
    shown.keyboard.press("Enter")
    assert shown.locator(VISIBLE).count() == 50
    shown.locator("#search").fill("DROP")
    assert not shown.locator("#pages").is_visible()


def test_a_narrow_page_shows_every_column_and_the_reasons(shown: Page) -> None:
    for width in (360, 600, 900):
        shown.set_viewport_size({"width": width, "height": 800})
        shown.evaluate("document.querySelectorAll('#ranked tbody')[20].scrollIntoView()")
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        for cell in shown.locator("#ranked th, #ranked tbody:nth-of-type(3) :is(td, span)").all():
            box = cell.bounding_box()
            assert box is None or 0 <= box["x"] <= box["x"] + box["width"] <= width
        reason = shown.locator("#ranked tbody:nth-of-type(3) .why")
        assert reason.inner_text().strip() == REASON
        # Column headings stay visible while scrolling.
        assert 0 <= shown.get_by_role("button", name="entropy_e").bounding_box()["y"] < 120


def test_nothing_overflows_sideways_on_a_phone(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(500)  # charts are redrawn
        wide = page.evaluate(
            """() => [...document.querySelectorAll("main *")]
            .filter((one) => !one.closest("svg") || one.tagName === "svg")
            .filter((one) => one.getBoundingClientRect().right > 391
                || (getComputedStyle(one).overflowX !== "visible"
                    && one.scrollWidth > one.clientWidth + 1))
            .map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`)"""
        )
        assert wide == []
        row = page.locator("#policy ~ .wide tbody tr").first
        assert "condition" in row.locator("td").nth(1).evaluate(
            "cell => getComputedStyle(cell, '::before').content"
        )


def test_the_table_of_contents_links_to_every_section(shown: Page) -> None:
    links = shown.locator("nav a")
    titles = links.all_inner_texts()
    assert titles == shown.locator("h2").all_inner_texts()
    assert {"Effect of the policy", "Reliability of the scores"} <= set(titles[:3])
    links.nth(titles.index("Reliability of the scores")).press("Enter")
    assert abs(shown.get_by_role("heading", name="Reliability").bounding_box()["y"]) < 2


def test_without_scripts_all_captions_are_shown(browser: Browser, file: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        assert page.locator(VISIBLE).count() == 1000
        assert not page.locator("#search, #next, #all").first.is_visible()
        assert page.locator("thead button:enabled").count() == 0


def test_the_page_states_how_many_captions_were_scored(browser: Browser, tmp_path: Path) -> None:
    captions = make_captions(4)
    rows = [
        {
            "caption_id": f"{number}",
            "caption": caption,
            "noise_norm_first": 1.0,
            "scored": number != 1,
        }
        for number, caption in enumerate(captions)
    ]
    rows[3] |= {"is_reference": True}
    run = make_run(tmp_path / "run", rows, fingerprint=FINGERPRINT, record=RECORD)
    write_report(ReportConfig(run, str(tmp_path / "report.html")), "memscan report")
    with opened(browser, tmp_path / "report.html") as page:
        facts = page.locator("dl").inner_text()
        policy = page.locator("#policy + p").inner_text()
    assert "3 samples of the training set; 2 of 3 distinct captions were scored" in facts
    assert "(1 quarantined)" in facts
    assert "1 caption that the model was not trained on" in facts
    assert "standard, 1 seed, 50 steps" in facts
    assert "does not cover captions without a score, which keeps 1 sample." in policy


@pytest.mark.usefixtures("few_replicates")
@pytest.mark.parametrize("style", [True, False])
def test_labels_that_differ_in_style_cause_a_warning(
    browser: Browser, tmp_path: Path, style: bool
) -> None:
    choose = random.Random(1)
    captions = make_captions(200)
    rows = [
        {
            "caption_id": f"{number:04}",
            "caption": caption,
            "noise_norm_first": choose.gauss(2 * (number % 2), 1),
            "entropy_e": choose.gauss(0, 1),
            "bos_mass": choose.gauss(0, 1),
            "n_tokens": 5 + number % 2 if style else choose.randint(5, 9),
            "title_case_fraction": 0.0,
            "digit_fraction": 0.0,
        }
        for number, caption in enumerate(captions)
    ]
    run = make_run(tmp_path / "run", rows, fingerprint=FINGERPRINT, record=RECORD)
    labels, out = tmp_path / "labels.csv", str(tmp_path / "calibration.json")
    labels.write_text(
        "caption,verdict,sscd\n"
        + "".join(
            f"{caption},{VERDICTS[number % 4]},{number % 8 / 10}\n"
            for number, caption in enumerate(captions)
        )
    )
    options = ["--labels", str(labels), "--similarity-column", "sscd", "--fpr", "0.1"]
    assert calibrate([run, *options, "--out", out]) == 0
    page_file = tmp_path / "report.html"
    write_report(ReportConfig(run, str(page_file), calibration=out), "memscan report")
    with opened(browser, page_file) as page:
        text = page.locator("main").inner_text()
        headline = page.locator(".big").inner_text()
    assert ("cannot be trusted" in text) == style
    assert all(f"AUC, {kind} (50 captions)" in text for kind in ("verbatim", "template"))
    assert "rank correlation with similarity (200 captions)" in text
    if style:
        assert "Text features alone (text_combination, AUC 1.00) predict" in text
    # The headline gives no number that the warning would contradict.
    assert ("is unknown: the labels of the calibration differ in style" in headline) == style
    assert ("expected to be memorized" in headline) != style
    assert ("expected not to be memorized" in text) != style


def test_triggers_are_marked_and_charts_have_a_description(shown: Page) -> None:
    assert shown.locator("#ranked td.caption .trigger").count() >= 999
    charts = shown.locator(".chart")
    assert charts.count() == 3
    for number in range(charts.count()):
        assert len(charts.nth(number).get_attribute("aria-label") or "") > 40


def test_dark_mode_and_print_have_their_own_colors(browser: Browser, file: Path) -> None:
    color = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, file, "dark") as page:
        assert page.evaluate(color) == "rgb(21, 23, 26)"
        page.emulate_media(media="print")
        assert page.evaluate(color) == "rgb(255, 255, 255)"
        assert not page.locator("#search, #pages, nav").first.is_visible()
        assert page.locator("#count").is_visible()
