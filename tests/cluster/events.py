"""What tests expect of an execution's events."""

from typing import Any

from scanner.cluster import Event, Quarantined, Requeued


def refuse_failures(event: Event[Any]) -> None:
    """Fail the test for an item that failed."""
    assert not isinstance(event, Requeued | Quarantined), event
