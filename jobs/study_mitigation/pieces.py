"""The study in pieces: each is computed in a process of its own, kept as a file, never redone."""

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
class Piece:
    """``name``: of its file; ``make``: what computes its table, to be sent to a process."""

    name: str
    make: Callable[[], pa.Table]


def run_pieces(folder: Path, pieces: Sequence[Piece], workers: int) -> None:
    """Compute those pieces that have no file yet, ``workers`` at once, a core each."""
    folder.mkdir(parents=True, exist_ok=True)
    left = [piece for piece in pieces if not _path(folder, piece).exists()]
    if len(left) < len(pieces):
        log.info(f"{len(pieces) - len(left)} of {len(pieces)} pieces are there already")
    began = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started: a core each
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        try:
            running = {pool.submit(_keep, piece, folder): piece for piece in left}
            for done, future in enumerate(as_completed(running), start=1):
                future.result()
                rest = (time.monotonic() - began) / done * (len(left) - done)
                log.info(f"{done} of {len(left)}: {running[future].name}, {duration(rest)} left")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def read_pieces(folder: Path, pieces: Sequence[Piece]) -> pa.Table:
    """All of their rows."""
    return pa.concat_tables(pq.read_table(_path(folder, piece)) for piece in pieces)


def _path(folder: Path, piece: Piece) -> Path:
    return folder / f"{piece.name.replace(' ', '-')}.parquet"


def _keep(piece: Piece, folder: Path) -> None:
    path = _path(folder, piece)
    partly = path.with_suffix(f".{os.getpid()}.part")
    pq.write_table(piece.make(), partly, compression="zstd")
    partly.rename(path)
