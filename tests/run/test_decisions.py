"""The log of decisions: ordered, durable, merged in blocks, safe for several writers."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.query import open_run
from scanner.run.decision_log import BLOCK, DecisionLog, read_decisions
from scanner.run.decisions import Change, Entry, Statement
from scanner.run.records import DamagedFile
from scanner.storage import Store
from tests.query.runs import make_run

DROP, KEEP = Statement("verbatim", "drop"), Statement("none", "keep", "a note")


def entry(reviewer: str, statement: Statement, *ids: str, **keys) -> Entry:
    return Entry(reviewer, (Change(statement, dict.fromkeys(ids)),), **keys)


def test_latest_statement_of_each_reviewer_counts(tmp_path: Path) -> None:
    rows = [
        {"caption_id": name, "caption": f"caption {name}", "noise_norm_first": 1.0}
        for name in "abcd"
    ]
    log = DecisionLog(Store(make_run(tmp_path / "run", rows)))
    log.append(Entry("ann", (Change(DROP, {"a": 0.25}), Change(KEEP, {"b": None})), "sample"))
    log.append(entry("ann", Statement("template", "cap"), "a"))
    log.append(entry("bob", DROP, "a", "c"))
    undone = log.append(entry("bob", KEEP, "d"))
    log.append(entry("bob", Statement(), "d", undoes=undone))
    log.append(entry("bob", Statement("unsure"), "b"))
    tables = open_run(str(tmp_path / "run"))
    found = tables.query("FROM decisions ORDER BY caption_id, reviewer").to_pylist()
    brief = [(row["caption_id"], row["reviewer"], row["label"], row["decision"]) for row in found]
    assert brief == [
        *(("a", "ann", "template", "cap"), ("a", "bob", "verbatim", "drop")),
        *(
            ("b", "ann", "none", "keep"),
            ("b", "bob", "unsure", None),
            ("c", "bob", "verbatim", "drop"),
        ),
    ]
    assert [row["is_disputed"] for row in found] == [True, True, False, False, False]
    assert found[0]["sampling_probability"] == 0.25
    agreed = tables.query("FROM reviewed ORDER BY caption_id").to_pylist()
    assert [(row["label"], row["decision"]) for row in agreed] == [
        *((None, None), ("none", "keep"), ("verbatim", "drop"))
    ]


@pytest.mark.slow
def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    each, writers = BLOCK // 4 + 7, 5

    def write(number: int) -> list[int]:
        log = DecisionLog(Store(str(tmp_path)))
        return [log.append(entry(f"w{number}", DROP, f"{number}-{k}")) for k in range(each)]

    with ThreadPoolExecutor(writers) as threads:
        numbers = list(itertools.chain(*threads.map(write, range(writers))))
    table = read_decisions(Store(str(tmp_path)))
    assert len(set(numbers)) == len(table) == each * writers
    assert sorted(numbers) == table["entry"].to_pylist()
    assert set(table["caption_id"].to_pylist()) == {
        f"{number}-{k}" for number in range(writers) for k in range(each)
    }
    assert len(list((tmp_path / "decisions/log").iterdir())) == (each * writers) % BLOCK
    assert len(list((tmp_path / "decisions/parts").iterdir())) == each * writers // BLOCK


@pytest.mark.slow
def test_an_entry_in_a_merged_block_is_added_again(tmp_path: Path) -> None:
    log = DecisionLog(Store(str(tmp_path)))
    for number in range(BLOCK):
        log.append(entry("ann", DROP, str(number)))
    late = entry("bob", KEEP, "late")
    assert not log._create(7, late.to_json())  # a writer that listed before the block was merged
    assert log.append(late) == BLOCK + 1
    table = DecisionLog(Store(str(tmp_path))).read()
    assert table["caption_id"].to_pylist() == [*map(str, range(BLOCK)), "late"]


@pytest.mark.slow
def test_reader_sees_what_others_add(tmp_path: Path) -> None:
    reader, writer = (DecisionLog(Store(str(tmp_path))) for _ in range(2))
    choose = random.Random(0)
    for number in range(1, 2 * BLOCK + 4):
        writer.append(entry("ann", DROP, str(number)))
        if choose.random() < 0.05:
            assert len(reader.read()) == number
    assert reader.read().equals(DecisionLog(Store(str(tmp_path))).read())


@pytest.mark.parametrize("data", [b"{", b'{"reviewer": "", "changes": []}', b'{"reviewer": 1}'])
def test_a_damaged_entry_is_named(tmp_path: Path, data: bytes) -> None:
    store = Store(str(tmp_path))
    DecisionLog(store).append(entry("ann", DROP, "a"))
    store.write("decisions/log/000000000002.json", data)
    with pytest.raises(DamagedFile, match=r"000000000002\.json is damaged .*; restore"):
        read_decisions(store)


def test_decisions_are_safe_on_s3(s3: str) -> None:
    log = DecisionLog(Store(f"{s3}/reviewed"))
    assert log.append(entry("ann", DROP, "a")) == 1
    assert not log._create(1, entry("bob", KEEP, "a").to_json())
    assert log.read()["reviewer"].to_pylist() == ["ann"]


def test_a_log_without_free_numbers_says_so(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write(f"decisions/log/{'9' * 12}.json", entry("ann", DROP, "a").to_json())
    with pytest.raises(UserError, match="no number is left"):
        DecisionLog(store).append(entry("ann", DROP, "a"))
