"""Planning on a pool whose processes are killed as by the kernel when memory runs out."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.run import Plan
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.stages import planning_executor
from scanner.storage import Store
from tests.local_ray import local_ray

FILES, ROWS, FATAL = 3, 50, "fatal"


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(num_cpus=1):
        yield


def _killing(deaths: str, times: int) -> Callable[[str], str]:
    """Return a normalization that kills its process at a caption, at most ``times``."""

    def canonical(text: str) -> str:
        if text == FATAL and len(list(Path(deaths).iterdir())) < times:
            Path(deaths, str(time.time_ns())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return text.strip()

    return canonical


def _planned(tmp_path: Path, times: int) -> tuple[Plan, list[dict], list[dict]]:
    """Plan one unit of FILES files, the second of which holds the fatal caption in its middle."""
    data, deaths, run = (tmp_path / name for name in ("data", "deaths", "run"))
    data.mkdir()
    deaths.mkdir()
    for number in range(FILES):
        captions = [f"caption {number} {row}" for row in range(ROWS)]
        if number == 1:
            captions[ROWS // 2] = FATAL
        pq.write_table(pa.table({"caption": captions}), data / f"{number}.parquet")
    plan = make_plan(
        choose_inputs(ScanConfig(captions=(str(data),), out=str(run))),
        Store(str(run)),
        partial(_killing, str(deaths), times),
        lambda _: 1000,
        execute=planning_executor(None, lambda _: None, pool_from=1),
    )
    assert len(list((run / "planning/0000/read").iterdir())) == 1, "one unit"
    assert len(list(deaths.iterdir())) >= min(times, 2)
    rows = [
        [row for name in names for row in pq.read_table(run / name).to_pylist()]
        for names in (plan.samples, plan.rejects)
    ]
    return plan, rows[0], rows[1]


def _places(samples: list[dict]) -> list[tuple[str, int]]:
    return sorted((Path(row["source"]).stem, row["row"]) for row in samples)


@pytest.mark.slow
def test_a_reader_killed_once_loses_and_repeats_nothing(tmp_path: Path) -> None:
    plan, samples, rejects = _planned(tmp_path, times=1)
    assert _places(samples) == [(str(n), row) for n in range(FILES) for row in range(ROWS)]
    assert rejects == []
    assert plan.counts["captions"] == plan.counts["samples"] == FILES * ROWS


@pytest.mark.slow
def test_a_file_that_kills_every_reader_is_one_reject(tmp_path: Path) -> None:
    plan, samples, rejects = _planned(tmp_path, times=1000)
    assert _places(samples) == [(str(n), row) for n in (0, 2) for row in range(ROWS)]
    (reject,) = rejects
    assert reject["source"].endswith("/1.parquet")
    assert reject["reason"].startswith("unreadable file: ")
    assert plan.counts["captions"] == plan.counts["samples"] == 2 * ROWS
    assert plan.counts["rejected_files"] == 1
