"""Whose fault it is that an actor does not start."""

from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from scanner.cluster import Resources, RetryLimits, Timing
from scanner.cluster.actor_pool import Actor, ActorPool
from scanner.errors import UserError
from scanner.run import Commits, Slice
from scanner.storage import Store

LOST = """The actor died unexpectedly before finishing this task.
\tclass_name: Worker
\tthe actor's node was terminated unexpectedly: health check failed due to missing heartbeats
The actor never ran - it was cancelled before it started running."""


@pytest.fixture
def pool(tmp_path: Path) -> ActorPool[Slice]:
    commits = Commits(Store(str(tmp_path)), "commits")
    return ActorPool(
        commits,
        lambda: pytest.fail("no work is made"),
        Resources(2, 1.0, 0),
        1,
        RetryLimits(),
        Timing(),
    )


def _failing_start(
    pool: ActorPool[Slice], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    def fail(reference: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "get", fail)
    monkeypatch.setattr(ray, "kill", lambda handle: None)
    pool.starting["reference"] = Actor(None)
    return [event.message for event in pool.finish_start("reference")]


def test_starts_on_a_lost_node_are_retried_without_limit(
    pool: ActorPool[Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts actors on a node that was killed until its heartbeats are missed."""
    for _ in range(10):
        notices = _failing_start(pool, RayActorError(error_msg=LOST), monkeypatch)
        assert notices == ["a node was lost before its actor was ready"]


def test_starts_that_keep_failing_abort_with_the_reason(
    pool: ActorPool[Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "scanner.cluster.resources.nodes", lambda without: [{"CPU": 2.0}][: not without]
    )
    error = RayActorError(error_msg="The actor died.\nMemoryError: no room")
    for _ in range(2):
        assert _failing_start(pool, error, monkeypatch) == [
            "an actor cannot start: MemoryError: no room"
        ]
        pool._check_any_can_start()
    _failing_start(pool, error, monkeypatch)
    with pytest.raises(UserError, match=r"no room \(tried 3 times\)"):
        pool._check_any_can_start()
