"""Every command is documented, and reports errors on one line."""

import csv
import dataclasses
import importlib
import inspect
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.cli import COMMANDS
from jobs.console.escaping import printable
from jobs.development.options_page import config_of
from tests.memscan import called, memscan
from tests.query.test_query import make_run


def test_memscan_without_arguments_lists_every_command() -> None:
    done = memscan("--help")
    for name, purpose in COMMANDS.items():
        assert name.replace("_", "-") in done.stdout
        assert purpose in done.stdout
    assert memscan(check=False).returncode == 2
    assert memscan("no-such-command", check=False).returncode == 2
    assert "did you mean scan?" in memscan("scna", check=False).stderr
    assert memscan("--version").stdout.startswith("memscan 0.")
    assert "usage: memscan rank" in memscan("rank", "--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_help(command: str) -> None:
    assert importlib.import_module(f"jobs.{command}").__doc__
    done = called(command, "--help")
    config = config_of(f"jobs.{command}")
    shown = " ".join(done.stdout.replace("│", " ").split())
    # In the order of inheritance: a field that a command redefines has that command's help.
    source = "".join(inspect.getsource(base) for base in config.__mro__ if base is not object)
    for field in dataclasses.fields(config):
        _, _, after = source.partition(f"\n    {field.name}: ")
        text = after.split('"""')[1].split()
        assert " ".join(text[:6]) in shown, f"memscan {command}: {field.name} has no help"
    assert "None" not in shown, "what is not given is no value"


def test_help_marks_required_options_and_lists_own_ones_first() -> None:
    shown = " ".join(called("scan", "--help").stdout.replace("│", " ").split())
    assert "such as s3://bucket/path. (required, or --captions-from)" in shown
    assert "a finished run returns at once. (required, except for --dry-run)" in shown
    assert shown.index("--captions [STR") < shown.index("--out STR") < shown.index("--model STR")
    assert "replaces an earlier list there. (required)" in called("curate", "--help").stdout
    assert "(default: 0)" in called("rank", "--help").stdout
    assert "(default: True)" not in called("verify", "--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_a_module_that_exits_2_on_bad_options(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"jobs.{command}"
    package = hasattr(importlib.import_module(module), "__path__")
    started = f"{module}.__main__" if package else module
    monkeypatch.setattr(sys, "argv", [command, "--no-such-flag"])
    monkeypatch.delitem(sys.modules, started, raising=False)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(module, run_name="__main__")
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("scan", "--model", "testbed", "--out", "x"), "--captions: name at least one file"),
        (("scan", "--model", "testbed", "--captions", "x.csv"), "--out: name the directory"),
        (("scan", "--captions", "a.csv", "--out", "x", "--seeds", "0"), "must be at least 1"),
        (("scan", "--captions", "missing.csv", "--out", "x", "--model", "testbed"), "no such file"),
        (
            ("scan", "--captions", "a.csv", "--out", "x", "--model", "nothing"),
            "neither a directory",
        ),
        (("scan", "--config", "missing.toml"), "cannot be read"),
        (("rank", "nowhere"), "no run here"),
        (("sql", "nowhere", "SELECT 1"), "no run here"),
        (("sql",), "RUN is missing"),
        (("sql", "x", "--name", "compare"), "--name compare: compares two runs"),
        (("rank", "x", "--top", "0"), "--top 0: must be at least 1"),
        (("rank", "--tpo", "3"), "no option --tpo; did you mean --top? (memscan rank --help"),
        (("status", "nowhere"), "no run here"),
        (("verify", "nowhere"), "no run here"),
        (("verify", "x", "--seeds", "1"), "--seeds 1: agreement across seeds needs at least 2"),
        (("verify", "x", "--images", "/x/{a.b}"), "--images /x/{a.b}: braces must hold plain"),
        (
            ("scan", "--captions", "a.csv", "--out", "o", "--keep", "url", "URL"),
            "--keep url URL: columns of a table cannot differ only in case",
        ),
        (("verify", "x", "--part", "2"), "--part 2.0: must be between 0 and 1"),
    ],
)
def test_bad_input_is_a_one_line_error_with_a_remedy(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("caption\nx\n")
    done = called(*arguments, check=False)
    wrong_options = message.startswith(("--", "no option")) or message in (
        "must be at least 1", "RUN is missing",
    )  # fmt: skip
    assert done.returncode == (2 if wrong_options else 1)
    assert message in done.stderr


def test_a_process_prints_an_error_on_one_line() -> None:
    done = memscan("rank", "nowhere", check=False)
    assert done.returncode == 1
    assert "no run here" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_toml_file_sets_options_and_flags_override_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.console.options import parse
    from scanner.errors import UsageError
    from scanner.evidence.verify.config import VerifyConfig
    from scanner.evidence.verify.mitigated import Mitigation
    from scanner.scan.config import ScanConfig

    path = tmp_path / "scan.toml"
    path.write_text('captions = ["a.csv"]\nout = "run"\nseeds = 2\ncaption-column = "TEXT"\n')
    found = parse(ScanConfig, "scan", "", ["--config", str(path), "--seeds", "4"])
    assert (found.captions, found.out, found.seeds, found.caption_column) == (
        ("a.csv",), "run", 4, ("TEXT",),
    )  # fmt: skip
    path.write_text("dry_run = true\n")
    assert parse(ScanConfig, "scan", "", ["--config", str(path), "--dry-run"]).dry_run
    path.write_text("mitigate = true\nmethod = 'ren'\nmask-padding = false\nbos_scale = 2\n")
    options = parse(VerifyConfig, "verify", "", ["RUN", "--config", str(path)])
    assert options.mitigate
    assert options.mitigation == Mitigation("ren", 2, False)
    path.write_text("seeds = 2.5\n")
    with pytest.raises(SystemExit) as stopped:
        parse(ScanConfig, "scan", "", ["--config", str(path)])
    assert stopped.value.code == 2
    assert "Error parsing --seeds: invalid literal for int()" in capsys.readouterr().err
    path.write_text("sedes = 2\n")
    with pytest.raises(UsageError, match="no option 'sedes'"):
        parse(ScanConfig, "scan", "", [f"--config={path}"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_run(tmp_path_factory.mktemp("run") / "r")


@pytest.mark.slow
def test_rank_and_sql_print_json_csv_and_parquet(run: str, tmp_path: Path) -> None:
    rows = json.loads(called("rank", run, "--top", "2", "--json").stdout)
    assert [row["caption_id"] for row in rows] == ["b", "d"]
    out = called("sql", run, "SELECT caption FROM captions ORDER BY 1", "--format", "csv").stdout
    assert next(csv.DictReader(io.StringIO(out)))["caption"] == "bird"
    called("rank", run, "--out", str(tmp_path / "r.parquet"))
    assert pq.read_table(tmp_path / "r.parquet")["caption_id"].to_pylist() == ["b", "d", "a"]
    assert (
        "--format parquet: cannot be printed"
        in called("rank", run, "--format", "parquet", check=False).stderr
    )
    refused = called("rank", run, "--out", str(tmp_path / "r.xlsx"), check=False)
    assert (refused.returncode, (tmp_path / "r.xlsx").exists()) == (2, False)
    assert "unknown ending; use .csv, .json, .parquet, or give --format" in refused.stderr
    plain = called("rank", run, "--out", str(tmp_path / "rows"))
    assert f"wrote 3 rows to {tmp_path / 'rows'}" in plain.stderr
    assert (tmp_path / "rows").read_text().startswith("rank,caption_id")
    assert "no rows" in called("sql", run, "SELECT 1 AS one WHERE false").stderr


@pytest.mark.slow
def test_named_queries_are_listed_and_run_with_parameters(run: str) -> None:
    assert "rank" in called("sql", "--list").stdout
    rows = called("sql", run, "--name", "rank", "--param", "top=1", "--json").stdout
    assert len(json.loads(rows)) == 1
    assert "no such query" in called("sql", run, "--name", "nothing", check=False).stderr
    assert "exactly one SELECT" in called("sql", run, "DROP VIEW scores", check=False).stderr


def test_a_query_names_its_missing_parameters(run: str) -> None:
    asked = ("sql", run, "--name", "neighbors")
    done = called(*asked, check=False)
    assert done.returncode == 2
    assert "query neighbors needs --param caption=…: a caption_id, or any text" in done.stderr
    assert "bird" in called(*asked, "--param", "caption=bird").stdout


@pytest.mark.slow
def test_duplicate_columns_and_decimals_are_kept(run: str) -> None:
    query = (
        "SELECT 1 AS n, 2 AS n, 1.5 AS d, sum(n_samples) AS s, ['NaN'::FLOAT] AS l FROM captions"
    )
    (row,) = json.loads(called("sql", run, query, "--json").stdout)
    assert row == {"n": 1, "n_1": 2, "d": 1.5, "s": 6, "l": [None]}
    odd = called("sql", run, "SELECT regexp_replace(caption, '[/a]', '') FROM captions")
    assert odd.returncode == 0


@pytest.mark.slow
def test_rank_joins_another_run(run: str) -> None:
    where = "caption_id IN (SELECT caption_id FROM other.ranked WHERE n_samples > 1)"
    done = called("rank", run, "--with", f"other={run}", "--where", where, "--json")
    assert [row["caption_id"] for row in json.loads(done.stdout)] == ["d", "a"]
    assert called("rank", run, "--with", "other=nowhere", check=False).returncode == 1


def test_a_store_that_does_not_respond_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    done = called("status", "s3://bucket/run", check=False)
    assert done.returncode == 1
    assert "check the location" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_shows_no_markup_or_control_characters(run: str) -> None:
    done = called("rank", run)
    assert "DROP TABLE" in done.stdout
    head = done.stdout.splitlines()[0].replace("┃", " ").split()
    assert head == ["rank", "n_samples", "noise_norm_first", "caption", "reasons"]
    assert "columns that do not fit: caption_id, probability" in done.stderr
    assert printable("a\x1b[31mb\n") == "a\\x1b[31mb\\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--captions", "missing.csv"), "missing.csv: no such file"),
        (("--captions", "a.csv", "--keep", "nope"), "no column 'nope'; the columns are caption"),
        (("--captions", "b.csv"), "no caption column among x"),
    ],
)
def test_bad_input_fails_before_libraries_load(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("caption\nx\n")
    (tmp_path / "b.csv").write_text("x\ny\n")
    code = (
        "import sys\nfrom jobs.scan import main\n"
        f"status = main({[*arguments, '--out', 'run', '--model', 'testbed']})\n"
        "print(status, sorted({'torch', 'ray', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 []\n"
    assert message in done.stderr
