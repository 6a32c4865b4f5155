"""Whose fault it is that an actor does not start."""

from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from scanner.cluster import Resources, RetryLimits, Timing
from scanner.cluster.actor_pool import Actor, ActorPool
from scanner.cluster.events import NOWHERE, Location
from scanner.errors import UserError
from scanner.run import Commits, Slice
from scanner.storage import Store

LOST = """The actor died unexpectedly before finishing this task.
\tclass_name: Worker
\tthe actor's node was terminated unexpectedly: health check failed due to missing heartbeats
The actor never ran - it was cancelled before it started running."""


class Clock:
    """Advances by a minute per failed start, more than any delay."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def pool(tmp_path: Path) -> ActorPool[Slice]:
    commits = Commits(Store(str(tmp_path)), "commits")
    return ActorPool(
        commits,
        lambda: pytest.fail("no work is made"),
        Resources(2, 1.0, 0),
        1,
        RetryLimits(),
        Timing(now=Clock()),
    )


def _failing_start(
    pool: ActorPool[Slice],
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    location: Location = NOWHERE,
    pause: float = 60.0,
) -> list[str]:
    def fail(reference: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "get", fail)
    monkeypatch.setattr(ray, "kill", lambda handle: None)
    pool.starting["reference"] = Actor(None, location)
    messages = [event.message for event in pool.finish_start("reference")]
    clock = pool._timing.now
    assert isinstance(clock, Clock)
    clock.seconds += pause
    return messages


def test_starts_on_a_lost_node_are_retried_without_limit(
    pool: ActorPool[Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts actors on a node that was killed until its heartbeats are missed."""
    for _ in range(10):
        notices = _failing_start(pool, RayActorError(error_msg=LOST), monkeypatch)
        assert notices == ["a node was lost before its actor was ready"]


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes ``a`` and ``b`` with room for one actor each."""
    monkeypatch.setattr(
        "scanner.cluster.connection.resources.nodes",
        lambda without=(): [{"CPU": 1.0} for node in "ab" if node not in without],
    )
    monkeypatch.setattr("scanner.cluster.failures.is_node_alive", lambda node: True)


FAILED = RayActorError(error_msg="The actor died.\nMemoryError: no room")


@pytest.mark.usefixtures("two_nodes")
def test_starts_that_keep_failing_abort_with_the_reason(
    pool: ActorPool[Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their processes report no node, so no node is taken out of service."""
    for _ in range(2):
        assert _failing_start(pool, FAILED, monkeypatch) == [
            "an actor cannot start: MemoryError: no room"
        ]
        pool._check_any_can_start()
    _failing_start(pool, FAILED, monkeypatch)
    with pytest.raises(UserError, match=r"no room \(tried 3 times\)"):
        pool._check_any_can_start()
    assert not pool.faults.out_of_service


@pytest.mark.usefixtures("two_nodes")
def test_starts_on_one_node_abort_once_no_other_is_left(
    pool: ActorPool[Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in "ab":
        pool._check_any_can_start()
        for _ in range(3):
            _failing_start(pool, FAILED, monkeypatch, Location(node, f"host {node}"))
    with pytest.raises(UserError, match=r"no room \(tried 3 times\)"):
        pool._check_any_can_start()


@pytest.mark.usefixtures("two_nodes")
def test_unplaced_starts_that_fail_at_once_count_once(
    pool: ActorPool[Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(16):
        _failing_start(pool, FAILED, monkeypatch, pause=0.01)
    pool._check_any_can_start()
    assert list(pool.fit(2)) == []
    assert not pool.starting, "no actor is started before the delay is over"


@pytest.mark.usefixtures("two_nodes")
def test_unplaced_starts_beside_a_live_actor_do_not_count(
    pool: ActorPool[Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.actors.append(Actor(None, Location("a", "host a")))
    for _ in range(5):
        _failing_start(pool, FAILED, monkeypatch)
        pool._check_any_can_start()
    pool.actors.clear()
    pool._check_any_can_start()
