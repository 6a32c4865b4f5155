"""Count this process's requests to stores, and the seconds that it waits for them."""

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class StoreCounts:
    """``requests``: by operation, as S3's client calls it (``get_object``), else by HTTP method. A
    client's own quick repetitions are not counted. ``wait_seconds``: between an outage's
    attempts."""

    requests: Counter[str] = field(default_factory=Counter)
    wait_seconds: float = 0.0


_counts = StoreCounts()
_lock = threading.Lock()


def count_request(operation: str) -> None:
    """Count one request."""
    with _lock:
        _counts.requests[operation] += 1


def count_wait(seconds: float) -> None:
    """Count a wait that has ended."""
    with _lock:
        _counts.wait_seconds += seconds


def take_counts() -> StoreCounts:
    """Return what was counted since the last call."""
    global _counts
    with _lock:
        taken, _counts = _counts, StoreCounts()
    return taken
