"""Whose fault it is that an actor does not start."""

from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from scanner.cluster import Resources
from scanner.cluster.crew import Actor, Crew
from scanner.errors import UserError
from scanner.run import Commits
from scanner.storage import Store

LOST = """The actor died unexpectedly before finishing this task.
\tclass_name: Worker
\tthe actor's node was terminated unexpectedly: health check failed due to missing heartbeats
The actor never ran - it was cancelled before it started running."""


@pytest.fixture
def crew(tmp_path: Path) -> Crew:
    commits = Commits(Store(str(tmp_path)), "commits")
    return Crew(commits, lambda: pytest.fail("no work is made"), Resources(2, 1.0, 0), 1)


def _start_that_fails(crew: Crew, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    def fail(reference: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "get", fail)
    crew.starting["reference"] = Actor(None)
    return [event.reason for event in crew.started("reference")]


def test_starts_on_a_node_that_is_lost_are_tried_again_without_end(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts actors on a node that was killed until its heartbeats are missed."""
    for _ in range(10):
        told = _start_that_fails(crew, RayActorError(error_msg=LOST), monkeypatch)
        assert told == ["a node was lost before its actor was there"]


def test_starts_that_fail_by_themselves_are_given_up_with_the_reason(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RayActorError(error_msg="The actor died.\nMemoryError: no room")
    for _ in range(2):
        assert _start_that_fails(crew, error, monkeypatch) == [
            "an actor cannot start: MemoryError: no room"
        ]
    with pytest.raises(UserError, match=r"no room \(tried 3 times\)"):
        _start_that_fails(crew, error, monkeypatch)
