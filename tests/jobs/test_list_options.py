"""List options take no positionals, and lose none of their values."""

import itertools
from pathlib import Path

import pytest

from jobs.console.options import pairs, parse
from jobs.curate import CurateConfig
from jobs.rank import RankConfig
from jobs.sql import SqlConfig
from scanner.errors import UsageError
from scanner.replication.config import ReplicateConfig
from scanner.scan.config import ScanConfig

QUERY = "SELECT $x, $y"


def sql(*words: str) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    options = parse(SqlConfig, "sql", "", words)
    return options.run, options.query, options.param, options.with_


@pytest.mark.slow
@pytest.mark.parametrize("run", ["RUN", "s3://bucket/x=y/run", "x=y/run"])
def test_sql_takes_arguments_in_any_order(run: str) -> None:
    groups = ([run, QUERY], ["--param", "x=1"], ["--param", "y=a b"], ["--with", "o=p"], ["--json"])
    for order in itertools.permutations(groups):
        run_, query, param, with_ = sql(*(word for group in order for word in group))
        assert (run_, query, sorted(param), with_) == (run, QUERY, ["x=1", "y=a b"], ("o=p",))
    assert sql("--with", "o=p", run, "--param", "x=1", QUERY) == (run, QUERY, ("x=1",), ("o=p",))
    assert sql(run, "--with=o=p", QUERY, "--param=x=1") == (run, QUERY, ("x=1",), ("o=p",))


def test_one_option_takes_several_values() -> None:
    both = ("x=1", "y=2")
    assert sql("RUN", QUERY, "--param", *both) == ("RUN", QUERY, both, ())
    assert sql("--param", *both, "RUN", QUERY) == ("RUN", QUERY, both, ())
    assert sql("--param", *both, "RUN", "--name", "q") == ("RUN", "", both, ())
    assert sql("--param", "x=1", "--name", "q", "x=y/run") == ("x=y/run", "", ("x=1",), ())
    assert sql("--param", *both, "x=y/run", "--name", "q") == ("x=y/run", "", both, ())
    assert sql("--with", "a=b", "c=d", "--list") == ("", "", (), ("a=b", "c=d"))


@pytest.mark.parametrize("config", [RankConfig, CurateConfig])
def test_a_run_after_attached_runs_is_the_run(config: type) -> None:
    out = ["--out", "o"] if config is CurateConfig else []
    for words in (
        ["--with", "a=b", "x=y", "--with", "c=d"],
        ["--with", "a=b", "c=d", "x=y"],
        ["x=y", "--with", "a=b", "c=d"],
        ["--with", "a=b", *out, "x=y", "--with", "c=d"],
    ):
        options = parse(config, "x", "", [*words, *([] if "o" in words else out)])
        assert (options.run, options.with_) == ("x=y", ("a=b", "c=d")), words


def test_scan_takes_files_from_one_option_or_several() -> None:
    for words in (
        ["--captions", "a", "b", "c"],
        ["--captions", "a", "--captions", "b", "c"],
        ["--captions=a", "--captions", "b", "--captions=c"],
    ):
        options = parse(ScanConfig, "scan", "", [*words, "--keep", "url", "--out", "o"])
        assert (options.captions, options.keep, options.out) == (("a", "b", "c"), ("url",), "o")


def test_a_list_on_the_command_line_replaces_the_files(tmp_path: Path) -> None:
    (tmp_path / "scan.toml").write_text('captions = ["a", "b"]\nkeep = []\nout = "o"\n')
    words = ["--captions", "c", "--config", str(tmp_path / "scan.toml"), "--captions", "d"]
    options = parse(ScanConfig, "scan", "", words)
    assert (options.captions, options.keep, options.out) == (("c", "d"), (), "o")


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--param top: given twice, as 1 and as 2"):
        pairs("--param", ("top=1", "top=2"))


def test_a_list_after_all_positionals_takes_every_word() -> None:
    for words in (
        ["testbed", "--sides", "1", "0.5"],
        ["--sides", "1", "testbed", "--sides", "0.5"],
    ):
        options = parse(ReplicateConfig, "replicate", "", words)
        assert (options.model, options.sides) == ("testbed", (1.0, 0.5))
