"""Somebody else's lists: what they remove, before and beside the rules."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.curate import main
from scanner.curation import RemovalFilter, Summary, curate, match_lists, parse_lists
from scanner.curation.key_hashes import hash_keys, load_hashes
from scanner.errors import UsageError, UserError
from scanner.query import open_run
from tests.curation.runs import LOUD, loudness, make_run, policy, rule, write_rows

ROWS = [
    *[("loud a", "u1")] * 3,
    ("quiet", "u1"),
    ("quiet", "u9"),
    ("loud b", "u2"),
    ("mine", "u3"),
    (None, "u4"),
]
RULES = policy(rule("mine", "caption = 'mine'", "keep"), rule("loud", LOUD, "cap", keep=1))
Rows = dict[int, tuple[str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("named")
    data = write_rows(folder / "a.jsonl", ROWS)
    return make_run(folder / "run", loudness, captions=(str(data),))


def curated(run: str, out: Path, *given: str) -> tuple[Rows, Summary]:
    """Action and reasons by row, and the summary."""
    tables, lists = open_run(run), parse_lists(given)
    match_lists(tables, lists)
    summary = curate(run, tables, RULES, str(out), force=True, lists=lists)
    rows = pq.read_table(out / "removal_list.parquet").to_pylist()
    return {row["row"]: (row["action"], ";".join(row["reasons"])) for row in rows}, summary


@pytest.mark.slow
def test_a_column_id_has_keys_if_nothing_else_names_samples(run: str, tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("id,note\n0,a\n6,b\n")
    found, _ = curated(run, tmp_path / "o", str(tmp_path / "ids.csv"))
    assert (found[0], found[6]) == (("drop", "ids"), ("drop", "ids"))
    (tmp_path / "numbered.csv").write_text("id,caption\n0,mine\n")
    found, _ = curated(run, tmp_path / "o", str(tmp_path / "numbered.csv"))
    assert found[6] == ("drop", "numbered")
    assert found[0] != ("drop", "numbered")


def test_captions_outside_the_limit_of_a_scan_are_found(tmp_path: Path) -> None:
    rows = [(f"{'Loud' if k % 2 else 'loud'} {k}", f"u{k}") for k in range(8)]
    data = write_rows(tmp_path / "a.jsonl", rows)
    run = make_run(tmp_path / "run", loudness, captions=(str(data),), limit=2)
    (tmp_path / "named.csv").write_text(
        "".join(f"{line}\n" for line in ("caption", *(caption for caption, _ in rows)))
    )
    found, summary = curated(run, tmp_path / "o", str(tmp_path / "named.csv"))
    assert len(open_run(run).query("FROM captions")) == 2
    assert found == dict.fromkeys(range(8), ("drop", "named"))
    assert summary.by_list["named"].unmatched == 0


@pytest.mark.slow
def test_a_list_wins_over_rules_and_takes_the_image(run: str, tmp_path: Path) -> None:
    (tmp_path / "opt-outs.txt").write_text("0\nu3\n7\nnobody\n\n")
    found, summary = curated(run, tmp_path / "o", str(tmp_path / "opt-outs.txt"))
    shared = ("drop", "opt-outs;same-image")
    assert {row: found[row] for row in (0, 1, 2, 3)} == {
        0: ("drop", "opt-outs"), 1: shared, 2: shared, 3: shared
    }  # fmt: skip
    assert found[6] == ("drop", "opt-outs")  # by its URL, though a rule keeps it
    assert found[7] == ("drop", "opt-outs")  # planning has rejected it
    assert found[5] == ("keep", "loud")
    assert 4 not in found
    effect = summary.by_list["opt-outs"]
    assert (effect.entries, effect.samples, effect.same_image) == (4, 2, 3)
    assert (effect.unmatched, effect.first_unmatched, effect.unusable) == (1, ("nobody",), 0)
    assert summary.actions == {"keep": 2, "drop": 5, "cap": 0, "recaption": 0}
    assert summary.captions_removed == 0  # no rule removed anything
    text = (tmp_path / "o" / "summary.txt").read_text()
    assert "1 of its entries match nothing, such as nobody" in text


@pytest.mark.slow
def test_a_cap_keeps_another_sample_than_the_listed_one(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", [("loud", f"u{k}") for k in range(3)])
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    plain, _ = curated(run, tmp_path / "plain")
    (kept,) = (row for row, (action, _) in plain.items() if action == "keep")
    (tmp_path / "list.csv").write_text(f"id,url\n0,u{kept}\n")
    found, _ = curated(run, tmp_path / "o", f"takedown={tmp_path}/list.csv")
    assert found.pop(kept) == ("drop", "takedown")
    assert sorted(action for action, _ in found.values()) == ["cap", "keep"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uids.npy", "keys.parquet", "removal_list.parquet"])
def test_lists_come_in_the_formats_of_others(name: str, tmp_path: Path) -> None:
    uids = [f"{k + 10:032X}" for k in range(4)]
    table = pa.table({"uid": uids, "caption": ["a", "b", "c", "d"]})
    pq.write_table(table, tmp_path / "a.parquet")
    run = make_run(tmp_path / "run", loudness, captions=(str(tmp_path / "a.parquet"),))
    path = tmp_path / name
    if name == "uids.npy":
        np.save(path, np.sort(hash_keys([uid.lower() for uid in uids[:2]])))
    elif name == "keys.parquet":
        pq.write_table(pa.table({"UID": uids[:2]}), path)
    else:
        listed = {"key": uids[:3], "action": ["drop", "cap", "keep"]}
        pq.write_table(pa.table(listed), path)
    found, summary = curated(run, tmp_path / "o", str(path))
    assert found.keys() == {0, 1}
    (effect,) = summary.by_list.values()
    assert (effect.entries, effect.unmatched) == (2, 0)


@pytest.mark.slow
def test_a_list_of_captions_names_all_their_samples(run: str, tmp_path: Path) -> None:
    (caption_id,) = open_run(run).query("FROM captions WHERE caption = 'mine'")["caption_id"]
    (tmp_path / "ids.csv").write_text(f"caption_id\n{caption_id}\n")
    (tmp_path / "texts.csv").write_text("caption\nloud a\nno such caption\n")
    lists = [str(tmp_path / "ids.csv"), str(tmp_path / "texts.csv")]
    found, summary = curated(run, tmp_path / "o", *lists)
    assert {row for row, (action, _) in found.items() if action == "drop"} == {0, 1, 2, 3, 6}
    assert [summary.by_list[name].unmatched for name in ("ids", "texts")] == [0, 1]
    with pytest.raises(UserError, match="it names captions, which a filter cannot"):
        RemovalFilter(lists[0])


@pytest.mark.slow
def test_unusable_lists_and_entries_are_reported(run: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("key,url\n,\n 5 ,\n5,u\n")
    found, summary = curated(run, tmp_path / "o", str(tmp_path / "list.csv"))
    assert found[5] == ("drop", "list")
    assert (summary.by_list["list"].unusable, summary.by_list["list"].unmatched) == (1, 1)
    (tmp_path / "other.csv").write_text("name\n5\n")
    with pytest.raises(UserError, match=r"--list .*other\.csv: no column key, __key__, uid"):
        curated(run, tmp_path / "o", str(tmp_path / "other.csv"))
    with pytest.raises(UserError, match=r"--list .*missing\.txt"):
        curated(run, tmp_path / "o", str(tmp_path / "missing.txt"))
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY no array")
    with pytest.raises(UserError, match=r"--list .*bad\.npy: cannot be read as an array"):
        curated(run, tmp_path / "o", str(tmp_path / "bad.npy"))
    with pytest.raises(UsageError, match="another list has the reason list"):
        parse_lists(["a/list.csv", "b/list.csv"])


def test_a_remote_array_is_read_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = hash_keys(["a", "b"])
    np.save(tmp_path / "uids.npy", hashes)
    np.savez(tmp_path / "uids.npz", hashes)
    (tmp_path / "uids.npz").rename(tmp_path / "several.npy")
    url = f"file://{tmp_path}/uids.npy"
    assert load_hashes(url).tolist() == hashes.tolist()
    for place in (f"{tmp_path}/several.npy", f"file://{tmp_path}/several.npy"):
        with pytest.raises(UserError, match="got an archive of arrays"):
            load_hashes(place)
    for rows in (1 << 70, 1 << 50):
        header = io.BytesIO()
        about = {"descr": np.lib.format.dtype_to_descr(hashes.dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(header, {**about, "shape": (rows,)})
        (tmp_path / "huge.npy").write_bytes(header.getvalue())
        for place in (f"{tmp_path}/huge.npy", f"file://{tmp_path}/huge.npy"):
            with pytest.raises(UserError, match="cannot be read as an array"):
                load_hashes(place)
    monkeypatch.setattr("scanner.curation.key_hashes.LARGEST_BYTES", 100)
    with pytest.raises(UserError, match=r"uids\.npy: over 0 MiB; download it"):
        load_hashes(url)


@pytest.mark.slow
def test_curate_takes_lists_and_ignores_the_image_key(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "urls.txt").write_text("u1\n")
    words = [run, "--out", str(tmp_path / "o"), "--list", f"gone={tmp_path}/urls.txt"]
    assert main([*words, "--image-key", "none", "--force"]) == 0
    shown = capsys.readouterr().out
    assert "list gone" in shown
    assert "removes 4 samples that it names" in shown
