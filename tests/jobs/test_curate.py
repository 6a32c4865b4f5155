"""memscan curate from the command line."""

import json
from pathlib import Path

import pytest

from jobs.curate import main
from tests.curation.runs import loudness, make_run

POLICY = """
name = "mine"
version = 1
[[rule]]
reason = "loud"
when = "noise_norm_first > 5"
action = "ACTION"
"""


@pytest.mark.slow
def test_curate_writes_a_list_a_diff_and_copies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d").mkdir()
    rows = [f"k{k},{'loud' if k < 3 else f'quiet {k}'}\n" for k in range(8)]
    (tmp_path / "d" / "a.csv").write_text("key,caption\n" + "".join(rows))
    run = make_run(tmp_path / "run", loudness, captions=(str(tmp_path / "d"),))
    for action in ("cap", "drop", "delete"):
        (tmp_path / f"{action}.toml").write_text(POLICY.replace("ACTION", action))
    (tmp_path / "none.toml").write_text(POLICY.replace("> 5", "> 500").replace("ACTION", "drop"))

    def curate(name: str, *more: str) -> tuple[int, str, str]:
        out = str(tmp_path / f"list-{name}")
        status = main([run, "--policy", f"{tmp_path}/{name}.toml", "--out", out, *more])
        return (status, *capsys.readouterr())

    status, _, complaint = curate("delete")
    assert status == 1
    assert "action = 'delete': must be one of keep, drop, cap, recaption" in complaint
    status, _, complaint = curate("cap")
    assert status == 1
    said = complaint.splitlines()
    assert said[1].startswith("policy mine-1-")
    assert any("to be removed" in line for line in said)
    assert said[-1].startswith("memscan: policy mine-1-")  # the error last, after the summary
    assert "limits.cluster allows 10%" in said[-1]
    status, shown, _ = curate("cap", "--force", "--json", "--apply", str(tmp_path / "copies"))
    assert status == 0
    record = json.loads(shown)
    assert record["actions"] == {"keep": 6, "drop": 0, "cap": 2, "recaption": 0}
    assert record["by_rule"]["loud"]["removed"] == 2
    assert record["expected_false_removals"] is None
    assert record["out"] == str(tmp_path / "list-cap")
    assert record["apply"]["kept"] == 6
    assert len((tmp_path / "copies" / "a.csv").read_text().splitlines()) == 7
    status, shown, _ = curate("none")
    assert (status, "0 (0.0%) to be removed" in shown) == (0, True)
    assert "next:" not in shown
    assert main([run, "--out", str(tmp_path / "list-default")]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == f"next: memscan verify {run} --top 100"
    status, shown, _ = curate("drop", "--force", "--diff", str(tmp_path / "list-cap"))
    assert status == 0
    for line in ("cap → drop", "keep → drop", "3 (37.5%) to be removed", "unknown, because"):
        assert line in shown


def test_overwriting_sources_fails_before_the_list_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.csv").write_text("caption\nloud\nquiet\n")
    run = make_run(tmp_path / "run", loudness, captions=(str(tmp_path / "d"),))
    (tmp_path / "p.toml").write_text(POLICY.replace("ACTION", "drop"))
    words = [run, "--policy", f"{tmp_path}/p.toml", "--out", str(tmp_path / "o"), "--force"]
    assert main([*words, "--apply", str(tmp_path / "d")]) == 1
    assert "would overwrite it" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_options_that_need_apply_are_refused_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--out", "o", "--actors", "2", "--single-writer"]) == 2
    assert "--actors, --single-writer: needs --apply" in capsys.readouterr().err


def test_out_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 2
    assert "--out: name the directory" in capsys.readouterr().err
