"""A full disk ends the command, and is no item's fault."""

import errno
from functools import partial
from pathlib import Path

import pytest

from scanner.cluster import Resources, Result, Task
from scanner.cluster.dispatcher import dispatch
from scanner.cluster.failures import ERROR, kind_of
from scanner.run import Commits, Slice
from scanner.storage import Store
from scanner.storage.error_messages import attach_store_url
from tests.local_ray import local_ray

SLICES = [Slice(f"{number:06d}", "", "", "", 1) for number in range(4)]


def full(store: str) -> OSError:
    error = OSError(errno.ENOSPC, "No space left on device", f"{store}/scores/a")
    attach_store_url(error, store)
    return error


class Full:
    """Computes, but cannot write."""

    def __init__(self, store: str) -> None:
        self.store = store

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        return item

    def finish(self, item: Slice) -> Result:
        raise full(self.store)


def test_a_full_disk_ends_the_command_without_quarantine(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"))
    commits = Commits(store, "commits", "f")
    tasks, resources = [Task(item) for item in SLICES], Resources(actors=1, cpus=0.5, gpus=0)
    with local_ray(), pytest.raises(OSError, match="No space left on device"):
        list(dispatch(commits, tasks, partial(Full, store.url), resources, in_flight=1))
    assert store.names("quarantine") == []


def test_other_errors_are_the_item_s() -> None:
    with pytest.raises(OSError, match="No space left"):
        kind_of(full("run"))
    scratch = OSError(errno.ENOSPC, "a node's own scratch disk")
    for error in (scratch, OSError(errno.EIO, "a disk"), ValueError("a caption"), None):
        assert kind_of(error) == ERROR
