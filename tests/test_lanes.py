"""Tests are classed as slow by what they use."""

import pkgutil
import subprocess
from pathlib import Path

import pytest

from tests import lanes
from tests.local_ray import local_ray
from tests.memscan import called, memscan
from tests.random_families import FAMILIES
from tests.random_pipelines import KINDS
from tests.random_transformers import KINDS as TRANSFORMERS

WORDS = ("scan", "--help")


def _nested() -> None:
    def start() -> None:
        with local_ray():
            pass

    start()


def _by_command() -> None:
    called("scan", "--help")


def _by_words_of_several_tests() -> None:
    called(*WORDS)


def _through_another_function() -> None:
    _nested()


def _calls_memscan(folder: Path) -> None:
    memscan("status", str(folder))


def _starts_python() -> None:
    subprocess.run(["python"], check=True)


def _queries() -> None:
    called("sql", "--list")


@pytest.mark.parametrize(
    "function",
    [
        *(_nested, _by_command, _by_words_of_several_tests, _through_another_function),
        *(_calls_memscan, _starts_python),
    ],
)
def test_what_starts_processes_is_slow(function) -> None:
    assert lanes.starts_processes(function)


def test_fast_tests_run_one_u_net_and_one_transformer() -> None:
    kinds = {*KINDS, *TRANSFORMERS, *FAMILIES}
    assert kinds >= lanes.SLOW_FAMILIES, "was one renamed?"
    assert kinds - lanes.SLOW_FAMILIES == {"sd1", "sd3-t5"}


@pytest.mark.parametrize("name", sorted(lanes.SLOW_CALLS))
def test_slow_calls_exist(name: str) -> None:
    assert callable(pkgutil.resolve_name(name)), "was it renamed?"


def test_a_query_in_this_process_is_not_slow() -> None:
    assert not lanes.starts_processes(_queries)


def test_fixtures_and_marks_make_tests_slow(request: pytest.FixtureRequest) -> None:
    slow = {item.nodeid.split("[")[0] for item in request.session.items if lanes.is_slow(item)}
    for item in request.session.items:
        if {"demo", "browser"} & set(item.fixturenames) or item.get_closest_marker("pages"):
            assert item.get_closest_marker("slow"), item.nodeid
    assert request.node.nodeid not in slow
