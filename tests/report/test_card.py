"""A page about a scan that may be published: true, and inert whatever the run holds."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from jobs.card import main as card_command
from jobs.console.options import parse
from scanner.curation import read_policy
from scanner.pages.markdown import block, code, table
from scanner.query import open_run
from scanner.report import gather
from scanner.report.card import render_card, without_words
from scanner.report.content import ReportContent
from scanner.scan.config import ScanConfig

EVIL = "a `b` ``c`` | d | </code><img src=x onerror=alert(1)> [x](javascript:y)\n# title\u202e"


@pytest.fixture(scope="module")
def content(testbed_run: str) -> ReportContent:
    found = gather(testbed_run, open_run(testbed_run), read_policy("default"), None, 1)
    inputs = {**found.record["inputs"], "captions": ["/home/me/secret/data.jsonl"]}
    model = {**found.record["model"], "name": "/home/me/secret/sd"}
    return replace(found, record={**found.record, "inputs": inputs, "model": model})


def _html(page: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(page)


def test_it_has_the_counts_and_no_captions_or_folders(content: ReportContent) -> None:
    page = render_card(content, "My set")
    assert page.startswith("# What a model has memorized of `My set`\n")
    assert "| training set | 10,592 samples in `data.jsonl` |" in page
    assert "| distinct captions | 826, of which 826 were scored |" in page
    command = "memscan scan --captions data.jsonl --reference heldout.parquet --model sd"
    assert command in page
    assert "--profile standard --steps 50 --guidance 7.5 --out RUN" in page
    assert "secret" not in page
    assert not [row for row in content.rows if row["caption"] in page]
    assert "how many captions are memorized is unknown" in page
    assert "Not known: no caption was verified" in page


def test_names_of_strangers_stay_text(content: ReportContent) -> None:
    record = {
        **content.record,
        "model": {**content.record["model"], "name": EVIL, "revision": EVIL},
    }
    hostile = replace(content, record={**record, "versions": {EVIL: EVIL}}, signal=EVIL)
    html = _html(render_card(hostile, EVIL))
    assert not re.search(r"<(img|script|a)\b", html)
    assert len(re.findall("<h1>", html)) == 1
    assert "onerror=alert(1)&gt;" in html
    assert "\u202e" not in html
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    sizes = {len(re.findall("<td>", row)) for row in rows if "<td>" in row}
    assert sizes == {2, 5}, "no bar has ended a cell early"


@pytest.mark.parametrize("text", ["`", "``a`", "", " ", "a|b", "\\", "x" * 500, "\x1b[31mred"])
def test_code_shows_its_text(text: str) -> None:
    html = _html("\n".join(table(("name", "b"), [(code(text), "b")])))
    shown = re.search(r"<td><code>(.*)</code></td>", html)
    assert shown is not None, html
    plain = text.replace("\x1b", " ").strip()
    assert shown[1].strip() == (plain if len(plain) < 200 else "x" * 199 + "…")


def test_a_block_ends_where_it_should() -> None:
    html = _html("\n".join([*block(["a ```` b", "c"]), "after"]))
    assert "<p>after</p>" in html
    assert "a ```` b\nc" in html


def test_the_command_writes_or_prints_it(
    testbed_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert card_command([testbed_run, "--name", "mine"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("# What a model has memorized of `mine`")
    out = tmp_path / "card.md"
    assert card_command([testbed_run, "--name", "mine", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "bytes": len(page.encode())}
    assert out.read_text() == page


def test_a_calibration_adds_its_figures(
    testbed_run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert card_command([testbed_run, "--calibration", "testbed"]) == 0
    page = capsys.readouterr().out
    assert re.search(r"\| `combination` \| 0\.99\d \(0\.\d+ to 0\.99\d\) \| \d+\.\d% \|", page)
    assert "holds if the calibration's probabilities hold for this training set" in page
    assert "`n_tokens, without the model`" in page


def test_the_command_repeats_what_decides_the_scores(content: ReportContent) -> None:
    record = json.loads(json.dumps(content.record))
    record["inputs"] |= {
        "captions": ["s3://b/x/a b.jsonl", "c.jsonl"],
        "caption_column": ["t", "u"],
    }
    record["model"] |= {"name": "org/model", "lora": "/home/me/l.safetensors"}
    record["options"]["model"] |= {"lora": "/home/me/l.safetensors", "lora_scale": 0.5}
    record["options"]["scoring"] |= {"signals": ["bos_mass", "noise_norm@low"]}
    page = render_card(replace(content, record=record), "x")
    words = shlex.split(next(line for line in page.splitlines() if line.startswith("memscan scan")))
    config = parse(ScanConfig, "scan", "", words[2:])
    assert config.captions == ("a b.jsonl", "c.jsonl")
    assert config.caption_column == ("t", "u")
    assert (config.model, config.lora, config.lora_scale) == ("org/model", "l.safetensors", 0.5)
    assert config.signals == ("bos_mass", "noise_norm@low")


def test_predicates_show_no_captions(content: ReportContent) -> None:
    inputs = {"captions_from": "s3://b/run", "where": "caption ILIKE '%jane''s doe%' AND x < 3"}
    record = {**content.record, "inputs": {**content.record["inputs"], **inputs}}
    page = render_card(replace(content, record=record), "x")
    assert "jane" not in page
    assert "s3://b" not in page
    assert "caption ILIKE" in page
    assert (
        without_words("verdict IN ('verbatim', 'template')")
        == "verdict IN ('verbatim', 'template')"
    )
    assert without_words("caption = 'never closed") == "caption = '…'"
