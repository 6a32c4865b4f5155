"""Find and hash a model in several processes at once: ``python cold_start.py NAME [REVISION]``.

Prints a JSON list with the hash that each process returns, and whether it read the weights and
downloaded from a store. They are forked once the libraries are loaded, by a process without
threads: a lock that another thread held would stay locked in them.

Started as a file, since ``import tests`` sets the hub's client offline.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from scanner.models import ModelSpec, find_model
from scanner.models.files.hashing import ModelHash
from scanner.storage import inputs

PROCESSES = 3
FORK = get_context("fork")
READY = FORK.Barrier(PROCESSES)


def start(name: str, revision: str | None = None) -> tuple[str, bool, bool]:
    """Find and hash a model as an actor does."""
    done = set()

    def note(owner: Any, method: str) -> None:
        own = getattr(owner, method)

        def wrapped(*arguments: Any) -> Any:
            done.add(method)
            return own(*arguments)

        setattr(owner, method, wrapped)

    note(ModelHash, "add_tensors")
    note(inputs, "download")
    READY.wait()
    weights = find_model(ModelSpec(name, revision)).weights_hash(marker_bytes=0)
    return weights, "add_tensors" in done, "download" in done


def main(*arguments: str) -> None:
    find_model("testbed")  # loads the libraries
    with ProcessPoolExecutor(PROCESSES, FORK) as pool:
        starts = [pool.submit(start, *arguments) for _ in range(PROCESSES)]
    print(json.dumps([each.result() for each in starts]))


if __name__ == "__main__":
    main(*sys.argv[1:])
