"""The study as resumable tasks: each runs in a separate process and stores its table as a file."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.progress import duration

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class Task:
    """``name``: names its file; ``compute``: a picklable function that returns its table."""

    name: str
    compute: Callable[[], pa.Table]


def run_tasks(folder: Path, tasks: Sequence[Task], workers: int) -> None:
    """Run the tasks that have no file yet in ``workers`` parallel processes, one core each."""
    folder.mkdir(parents=True, exist_ok=True)
    remaining = [task for task in tasks if not _path(folder, task).exists()]
    if len(remaining) < len(tasks):
        log.info(f"{len(tasks) - len(remaining)} of {len(tasks)} tasks are already done")
    began = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the worker processes
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        try:
            running = {pool.submit(_run, task, folder): task for task in remaining}
            for done, future in enumerate(as_completed(running), start=1):
                future.result()
                seconds = (time.monotonic() - began) / done * (len(remaining) - done)
                log.info(
                    f"{done} of {len(remaining)}: {running[future].name}, {duration(seconds)} left"
                )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def read_tasks(folder: Path, tasks: Sequence[Task]) -> pa.Table:
    """Return the concatenated tables of finished tasks."""
    return pa.concat_tables(pq.read_table(_path(folder, task)) for task in tasks)


def _path(folder: Path, task: Task) -> Path:
    return folder / f"{task.name.replace(' ', '-')}.parquet"


def _run(task: Task, folder: Path) -> None:
    path = _path(folder, task)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    pq.write_table(task.compute(), temporary, compression="zstd")
    temporary.rename(path)
