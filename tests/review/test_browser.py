"""Two people review the testbed's run in real browsers, and the server is killed in between."""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from scanner.query import open_run
from scanner.testbed import labels
from tests.forking import forking_python
from tests.memscan import called
from tests.report.verified_runs import verified_run
from tests.review.sites import HOSTILE, small_run
from tests.waiting import wait_until

POLICY = """
name = "people"
version = 1
[limits]
source = 1.0
cluster = 1.0
[[rule]]
reason = "people-drop"
when = "decision = 'drop'"
action = "drop"
"""
UNLABELED = """
    [...document.querySelectorAll("input, select, button, a, img, [role=img]")].filter((one) =>
        one.checkVisibility() && !(one.labels?.length || one.textContent.trim() || one.alt
        || one.getAttribute("aria-label") || one.querySelector("img[alt]")))
        .map((one) => one.outerHTML)"""


class Server:
    """memscan review in a process of its own, at one port and with one token throughout."""

    def __init__(self, run: str, folder: Path, *words: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        keep = ("--index", str(folder / "index"), "--token-file", str(folder / "token"))
        self.words = ["review", run, "--port", str(self.port), "--json", *keep, *words]
        self.start()

    def start(self) -> None:
        command = [forking_python(), "-m", "jobs.cli", *self.words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = self.process.stdout.readline()
            assert line, "the server ended"
            text += line
        self.url = json.loads(text)["url"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(run: str, *words: str) -> Server:
        servers.append(Server(run, tmp_path, *words))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def visit(browser: Browser, url: str, **options) -> Page:
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(60_000)
    page.goto(url)
    return page


def ids(page: Page) -> list[str]:
    return page.eval_on_selector_all(".item", "all => all.map((one) => one.dataset.id)")


def wait_for_stored(page: Page, text: str) -> None:
    wait_until(lambda: text in page.locator("#target").inner_text(), f"no {text!r} in the status")


def press_through(page: Page, memorized: set[str]) -> int:
    """Decide about each caption of the page by two keys; return the number."""
    listed = ids(page)
    for caption_id in listed:
        page.keyboard.press("v" if caption_id in memorized else "n")
        page.keyboard.press("3" if caption_id in memorized else "1")
    done = "all => all.filter((one) => /(drop|keep)/.test(one.textContent)).length"
    wait_until(
        lambda: page.eval_on_selector_all(".stated", done) == len(listed), "not all are stored"
    )
    return len(listed)


def decide_in_bulk(page: Page, memorized: set[str]) -> int:
    """Label and decide about the page's captions in two groups, each at once."""
    listed = ids(page)
    for is_memorized, keys in ((True, "v3"), (False, "n1")):
        chosen = [one for one in listed if (one in memorized) == is_memorized]
        for key in keys if chosen else "":
            for caption_id in chosen:
                page.locator(f"[data-id='{caption_id}'] .pick").check()
            page.locator("h1").click()
            page.keyboard.press(key)
            count = f"{len(chosen)} caption" + ("" if len(chosen) == 1 else "s")
            names = {"v": "verbatim", "3": "drop", "n": "not memorized", "1": "keep"}
            wait_for_stored(page, f"{names[key]}, {count}")
    return len(listed)


def test_two_people_review_a_run(
    browser: Browser, testbed_run: str, serve: Callable[..., Server], tmp_path: Path
) -> None:
    run = str(tmp_path / "run")
    shutil.copytree(testbed_run, run)
    known = {row["caption"] for row in labels().to_pylist() if row["memorized"]}
    rows = open_run(run).query("SELECT caption_id, caption FROM captions").to_pylist()
    memorized = {row["caption_id"] for row in rows if row["caption"] in known}
    server = serve(run, "--calibration", "testbed", "--reviewer", "ann")
    sample = f"{server.url}?order=sample&n=60"
    ann = visit(browser, sample)
    decided = press_through(ann, memorized)

    server.kill()  # nothing but what is stored survives
    ann.keyboard.press("u")
    wait_for_stored(ann, "Not stored")
    server.start()
    ann.goto(f"{sample}&page=2")
    decided += decide_in_bulk(ann, memorized)
    ann.locator("[rel=next]").click()
    decided += decide_in_bulk(ann, memorized)
    assert decided == 60
    ann.keyboard.press("z")
    wait_for_stored(ann, "Undone")
    ann.goto(f"{server.url}?decided=yes")
    assert ann.locator("h1").inner_text() == "60 captions"
    found = open_run(run).query("SELECT * FROM decisions WHERE decision IS NULL").to_pylist()
    assert found
    assert {row["label"] for row in found} == {"none"}  # the last bulk decision, 1, is undone
    ann.goto(f"{sample}&page=3")
    decide_in_bulk(ann, memorized)

    bob = visit(browser, sample)
    bob.locator("#reviewer").fill("bob")
    bob.locator("#reviewer").press("Enter")
    bob.keyboard.press("x")  # a key again, no letter of the name
    assert bob.locator(".item.current .pick").is_checked()
    bob.keyboard.press("x")
    assert bob.locator("#reviewer").input_value() == "bob"
    first = next(one for one in ids(bob) if one in memorized)
    bob.locator(f"[data-id='{first}'] a.text").click()
    bob.wait_for_selector("h1.caption")
    bob.keyboard.press("n")
    bob.wait_for_selector(".badge.disputed")
    ann.goto(f"{server.url}?decided=disputed")
    assert ids(ann) == [first]
    server.kill()

    tables = open_run(run)
    stated = tables.query("SELECT * FROM decisions WHERE reviewer = 'ann'").to_pylist()
    assert len(stated) == 60
    for row in stated:
        right = row["caption_id"] in memorized
        expected = ("verbatim", "drop") if right else ("none", "keep")
        assert (row["label"], row["decision"]) == expected
        assert 0 < row["sampling_probability"] < 1
    calibrate(run, tmp_path)
    drops = {row["caption_id"] for row in stated if row["decision"] == "drop"}
    curate(run, tmp_path, len(drops))


def calibrate(run: str, folder: Path) -> None:
    """Fit a calibration on the decisions, and check what it says."""
    words = ("--labels", "decisions", "--fpr", "0.1", "--out", str(folder / "c.json"), "--json")
    record = json.loads(called("calibrate", run, *words).stdout)
    assert (record["captions"], record["labels"]["contradicted"]) == (59, 1)
    assert record["combination"]["auc"] > 0.9
    # 132 of the run's 826 captions are memorized; the sample has far more, which the weights undo.
    assert record["prevalence"] < record["memorized"] / record["captions"]
    assert record["prevalence"] == pytest.approx(132 / 826, abs=0.08)


def curate(run: str, folder: Path, drops: int) -> None:
    """Apply a policy that drops what people drop, and check its summary."""
    (folder / "people.toml").write_text(POLICY)
    curated = str(folder / "curated")
    summary = json.loads(
        called(
            "curate", run, "--policy", str(folder / "people.toml"), "--out", curated, "--json"
        ).stdout
    )
    assert summary["by_rule"]["people-drop"]["captions"] == drops
    assert summary["reviewed"]["captions"] == 60
    assert summary["reviewed"]["disputed"] == 1


def test_everything_selected_is_decided_once_confirmed(
    browser: Browser, serve: Callable[..., Server], tmp_path: Path
) -> None:
    run = small_run(tmp_path, captions=90)
    page = visit(browser, f"{serve(run).url}?q=fox")
    count = int(page.locator("h1").inner_text().split()[0])
    assert count > len(ids(page)) > 1
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.locator("#everything").check()
    page.keyboard.press("3")
    wait_for_stored(page, "Nothing was decided")
    assert len(open_run(run).query("FROM decisions")) == 0

    page = visit(browser, page.url)
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#everything").check()
    page.keyboard.press("3")
    wait_for_stored(page, f"drop, {count} captions")
    decisions = open_run(run).query("FROM decisions").to_pylist()
    assert len(decisions) == count
    assert {row["decision"] for row in decisions} == {"drop"}


def test_pages_are_readable_and_inert(
    browser: Browser, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(small_run(tmp_path))
    messages: list[str] = []
    for scheme, width in (("light", 1200), ("dark", 390)):
        page = visit(
            browser, server.url, color_scheme=scheme, viewport={"width": width, "height": 800}
        )
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        for path in ("", "?q=fox", "/../caption/0005", "/../summary"):
            page.goto(server.url + path)
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            assert page.evaluate(UNLABELED) == []
            assert page.evaluate("window.ran") is None
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(21, 23, 26)") == (scheme == "dark")
        page.goto(f"{server.url}/../caption/0005")
        assert page.locator("h1").inner_text().split() == HOSTILE.split()
    page.keyboard.press("m")
    page.keyboard.type(HOSTILE)
    page.keyboard.press("Enter")
    wait_for_stored(page, "Stored as entry 1")
    page.goto(server.url)
    page.locator(".histogram a").first.press("Enter")
    page.wait_for_url("**low=**")
    assert page.evaluate("window.ran") is None
    # The run's images are not there.
    assert [text for text in messages if "404" not in text] == []


def test_images_are_enlarged_beside_the_original(
    tmp_path: Path, serve: Callable[..., Server], browser: Browser
) -> None:
    server = serve(verified_run(tmp_path / "images", 20, {1: "verbatim"}))
    page = visit(browser, f"{server.url}/../caption/{1:032x}")
    seed = page.get_by_role("link", name="seed 2")
    seed.focus()
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog")
    notes = viewer.locator("figcaption")
    assert notes.first.inner_text() == "most similar training image of this caption"
    assert notes.last.inner_text() == "generated, seed 2"
    assert viewer.locator(".title").inner_text() == "alpha1 beta1 gamma1"
    # The keys of the page behind do not label its caption.
    page.keyboard.press("v")
    page.keyboard.press("ArrowRight")
    assert notes.last.inner_text() == "generated, seed 3"
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert page.locator(".stated .badge").count() == 0
