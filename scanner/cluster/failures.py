"""What a failure of an item means: whose fault it is, and what is to be done."""

from typing import Any

import ray
from ray.exceptions import RayActorError

from scanner.credentials import without_secrets
from scanner.storage import is_transient

# Ray's words of an actor whose node is gone: the only sign, of one that was still starting.
NODE_DIED = ("its node has died", "the actor's node was terminated")


class BrokenDevice(Exception):
    """Raised by work whose device cannot be used any more in this process."""


def is_outage(error: Exception) -> bool:
    """The store could not be reached: nobody's fault, and it will come back."""
    cause = getattr(error, "cause", None)
    return cause is not None and is_transient(cause)


def is_broken_device(error: Exception) -> bool:
    return isinstance(getattr(error, "cause", None), BrokenDevice)


def is_preemption(error: Exception, node: str = "") -> bool:
    """The actor died since its node went away, as far as it is known by now; ``node``: the id of
    the one it was on, "" of an actor that was still starting."""
    told = isinstance(error, RayActorError) and (
        error.preempted or any(words in str(error) for words in NODE_DIED)
    )
    return told or (node != "" and not node_lives(node))


def node_lives(node: str) -> bool:
    return any(found["NodeID"] == node and found["Alive"] for found in ray.nodes())


def brief(error: Exception) -> str:
    """What an exception from an actor comes to, in one line."""
    cause: Any = getattr(error, "cause", None)
    if cause is not None:
        return without_secrets(f"{type(cause).__name__}: {cause}")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # What Ray adds to the reason of an actor that died as it started.
    while len(lines) > 1 and lines[-1].startswith("The actor never ran"):
        lines.pop()
    return without_secrets(lines[-1]) if lines else type(error).__name__
