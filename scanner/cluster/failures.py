"""Tell failures of an item from those of a store, a device or a node."""

import errno
import re
import traceback
from typing import Any

from scanner.credentials import without_secrets
from scanner.memory import is_out_of_memory
from scanner.storage import is_transient

TRACEBACK_CHARACTERS = 20_000
COLOR = re.compile(r"\x1b\[[0-9;]*m")
# Causes of retries, for metrics; another exception of an item's work is an "error".
ERROR, OUT_OF_MEMORY, BROKEN_DEVICE = "error", "out_of_memory", "broken_device"
PROCESS_DIED, HANG, START = "process_died", "hang", "start"
NODE_LOST, STORE_OUTAGE = "node_lost", "store_outage"
# Ray's words for an actor whose node is gone: the only sign, of one that was still starting.
NODE_DIED = ("its node has died", "the actor's node was terminated")
# Its words before the reason why an actor's process ended, and for one that left no last message.
DETAIL = "Worker exit detail: "
ENDED = "Worker unexpectedly exits with a connection error"
KILLED = "killed, as for lack of memory, or crashed"
NO_MEMSCAN = re.compile(r"No module named '?scanner\b")
_FULL = {errno.ENOSPC, errno.EDQUOT}
LACKS_MEMSCAN = " (memscan is not installed on the cluster; bring it with --runtime-env)"


class BrokenDevice(Exception):
    """Raised by work whose device cannot be used any more in this process."""


def cause_of(error: BaseException) -> BaseException | None:
    """Return the exception that an actor raised; None where its process died."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else None


def is_outage(error: BaseException | None) -> bool:
    """Return whether the store could not be reached, which passes by itself."""
    return error is not None and is_transient(error)


def is_preemption(error: Exception, node: str = "") -> bool:
    """Return whether an actor died because its node went away, as far as is known by now.

    ``node``: the id of the node it was on, "" of an actor that was still starting.
    """
    from ray.exceptions import RayActorError

    reported = isinstance(error, RayActorError) and (
        error.preempted or any(words in str(error) for words in NODE_DIED)
    )
    return reported or (node != "" and not is_node_alive(node))


def is_node_alive(node: str) -> bool:
    import ray

    return any(known["NodeID"] == node and known["Alive"] for known in ray.nodes())


def brief(error: BaseException) -> str:
    """Return one line about an exception, also about one that came from an actor."""
    if cause := cause_of(error):
        return without_secrets(f"{type(cause).__name__}: {cause}")
    if not type(error).__module__.startswith("ray."):
        return without_secrets(f"{type(error).__name__}: {error}")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Added by Ray to the reason of an actor that died as it started.
    while len(lines) > 1 and lines[-1].startswith("The actor never ran"):
        lines.pop()
    line = without_secrets(lines[-1]) if lines else type(error).__name__
    line = line.rpartition(DETAIL)[2]
    if line.startswith(ENDED):
        return KILLED
    return line + LACKS_MEMSCAN if NO_MEMSCAN.search(line) else line


def traceback_of(error: BaseException) -> str:
    """Return the end of the traceback of an exception, also of one that came from an actor."""
    is_actor_s = cause_of(error) is not None  # such an error's text is the traceback there
    text = str(error) if is_actor_s else "".join(traceback.format_exception(error))
    return without_secrets(COLOR.sub("", text)[-TRACEBACK_CHARACTERS:])


def is_broken_device(error: Any) -> bool:
    return isinstance(error, BrokenDevice)


def kind_of(error: BaseException | None) -> str:
    """Return the cause of a retry for an exception that an item's work raised.

    Raises the exception itself if the disk of the run is full, which no retry helps.
    """
    if isinstance(error, OSError) and error.errno in _FULL and "storage" in vars(error):
        raise error
    if is_broken_device(error):
        return BROKEN_DEVICE
    return OUT_OF_MEMORY if error is not None and is_out_of_memory(error) else ERROR
