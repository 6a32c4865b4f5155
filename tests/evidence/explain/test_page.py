"""Explanation pages in a real browser: light, dark and printed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from scanner.evidence.explain import render_explanation
from scanner.evidence.explain.charts import overview_chart
from scanner.pages import PAPER, png
from tests.evidence.explain.conftest import HOSTILE, Explain
from tests.pages import opened

MEMORIZED = "little press presents up pointing small red triangle, symbols sign, set of 37"
HELD_OUT = "the classic motor boat emoji as seen on a phone"
CHARTS = 6


def test_a_page_is_one_self_contained_file(
    page_of: Callable[[str], Path],
) -> None:
    text = page_of(MEMORIZED).read_text(encoding="utf-8")
    assert len(text.encode()) < 2_000_000
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    loads = re.findall(r"(?:src|href|url|action|data)\s*[=(]\s*[\"']?([^\"'\s>)]*)", outside)
    assert loads
    assert all(load.startswith("data:image/") for load in loads), loads
    assert "default-src 'none'" in outside
    assert "@import" not in outside


@pytest.fixture(scope="module")
def memorized(browser: Browser, page_of: Callable[[str], Path]) -> Iterator[Page]:
    with opened(browser, page_of(MEMORIZED)) as shown:
        yield shown


@pytest.fixture(scope="module")
def held_out(browser: Browser, page_of: Callable[[str], Path]) -> Iterator[Page]:
    with opened(browser, page_of(HELD_OUT)) as shown:
        yield shown


def test_every_chart_and_image_has_a_text_alternative(memorized: Page) -> None:
    assert memorized.locator(".chart svg.marks").count() == CHARTS
    for chart in memorized.locator(".chart").all():
        assert len(chart.get_attribute("aria-label") or "") > 40
    for image in memorized.locator("img").all():
        assert image.get_attribute("alt")
        assert image.evaluate("image => image.naturalWidth") > 0


def test_a_page_works_without_held_out_captions(
    browser: Browser, explained: Explain, tmp_path: Path
) -> None:
    alone = replace(
        explained(HELD_OUT),
        held_out=[],
        bos_band_2SN=None,
        scores=[replace(score, others=[]) for score in explained(HELD_OUT).scores],
        curves=[replace(curve, low=[], median=[], high=[]) for curve in explained(HELD_OUT).curves],
    )
    (tmp_path / "alone.html").write_text(render_explanation(alone, "testbed"), encoding="utf-8")
    with opened(browser, tmp_path / "alone.html") as shown:
        assert shown.locator(".chart svg.marks").count() == CHARTS - 1
        assert "held-out" not in shown.locator("main").inner_text()
        assert f"{alone.scores[0].value:.4g}" in shown.locator(".lead dl").inner_text()
    overview = overview_chart(alone, PAPER, "data:,")
    assert png(overview).startswith(b"\x89PNG")


def test_only_a_memorized_caption_differs_from_held_out_ones(
    memorized: Page, held_out: Page, explained: Explain
) -> None:
    assert memorized.locator("main > ul:not(.tiles) li").count() >= 3
    for norm in ("noise_norm_low", "noise_norm_first"):
        assert memorized.locator("li", has_text=f"{norm} is above all 12").count() == 1
    assert held_out.locator("main > ul:not(.tiles) li").count() <= 1

    def outside(caption: str) -> float:
        curves = explained(caption).curves
        return sum(curve.above + curve.below for curve in curves) / len(curves)

    assert outside(MEMORIZED) > 0.5 > 0.2 > outside(HELD_OUT)


def test_the_page_states_the_evidence_of_each_signal(memorized: Page, explained: Explain) -> None:
    scores = explained(MEMORIZED).scores
    toward = sum(score.points > 0 for score in scores)
    memorized.set_viewport_size({"width": 390, "height": 844})
    text = memorized.locator("main").inner_text()
    assert f"{toward} of 6 signals suggest memorization" in text
    assert text.count(": suggests memorization") == toward
    # On a phone nothing overflows sideways.
    for one in memorized.locator(".chart svg.marks, .wide, td").all():
        box = one.bounding_box()
        assert box is None or box["x"] + box["width"] <= 390
    wide = "tables => tables.every(one => one.scrollWidth <= one.clientWidth + 1)"
    assert memorized.locator(".wide").evaluate_all(wide)


def test_charts_take_the_page_s_light_dark_and_print_colors(
    browser: Browser, page_of: Callable[[str], Path], held_out: Page
) -> None:
    def colors(shown: Page) -> tuple[str, str, str]:
        return tuple(
            shown.evaluate(
                "([where, what]) => getComputedStyle(document.querySelector(where))[what]", style
            )
            for style in (
                ("body", "backgroundColor"),
                ("body", "color"),
                (".chart .mark-text text", "fill"),
            )
        )  # type: ignore[return-value]

    light = colors(held_out)
    with opened(browser, page_of(HELD_OUT), "dark") as shown:
        dark = colors(shown)
        shown.emulate_media(media="print")
        printed = colors(shown)
    assert light[0] == "rgb(255, 255, 255)"
    assert printed == light
    assert all(one != other for one, other in zip(light, dark, strict=True))


def test_a_hostile_caption_is_shown_as_text(
    browser: Browser, page_of: Callable[[str], Path]
) -> None:
    with opened(browser, page_of(HOSTILE)) as shown:
        assert shown.evaluate("window.pwned") is None
        assert shown.locator("h1").evaluate("h => h.textContent.trim()") == HOSTILE.strip()
        assert shown.locator("h1 img, h1 svg, h1 script").count() == 0
        assert shown.locator("img[src='x']").count() == 0
        assert shown.locator("main script:not([type='application/json'])").count() == 0
        width = shown.evaluate("[document.body.scrollWidth, window.innerWidth]")
        assert width[0] <= width[1], "a long word must not widen the page"
        assert "the pale part is cut off" in " ".join(shown.locator("main").inner_text().split())
