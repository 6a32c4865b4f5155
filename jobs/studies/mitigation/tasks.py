"""The study as resumable tasks: each runs in a separate process and stores its table as a file."""

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.console.progress import duration
from scanner.errors import UsageError

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class StudyTask:
    """``name``: names its file; ``compute``: a picklable function that returns its table."""

    name: str
    compute: Callable[[], pa.Table]


def check_sizes(out: Path, config: Any, names: Sequence[str]) -> dict[str, Any]:
    """Store and return the options that set a study's size. Raises UsageError if ``out`` holds a
    study of other sizes."""
    out.mkdir(parents=True, exist_ok=True)
    given = {name: value for name, value in asdict(config).items() if name in names}
    sizes = json.loads(json.dumps(given))  # as they are read again
    stored = out / "study.json"
    if not stored.exists():
        stored.write_text(json.dumps(sizes), encoding="utf-8")
    elif json.loads(existing := stored.read_text(encoding="utf-8")) != sizes:
        raise UsageError(
            f"--out {out}: holds a study of other sizes ({existing}); give the same options or "
            "another directory"
        )
    return sizes


def run_tasks(folder: Path, tasks: Sequence[StudyTask], workers: int) -> None:
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


def read_tasks(folder: Path, tasks: Sequence[StudyTask]) -> pa.Table:
    """Return the concatenated tables of finished tasks."""
    return pa.concat_tables(pq.read_table(_path(folder, task)) for task in tasks)


def _path(folder: Path, task: StudyTask) -> Path:
    return folder / f"{task.name.replace(' ', '-')}.parquet"


def _run(task: StudyTask, folder: Path) -> None:
    path = _path(folder, task)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    pq.write_table(task.compute(), temporary, compression="zstd")
    temporary.rename(path)
