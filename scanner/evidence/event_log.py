"""Log what happens to groups of work."""

import logging
from typing import Any

from scanner.cluster import Event, Notice, Quarantined, Requeued


def log_event(log: logging.Logger, url: str, event: Event[Any]) -> None:
    """Log failures of groups and notices; ``url``: where the results are."""
    if isinstance(event, Requeued | Quarantined):
        fate = "failed, requeued" if isinstance(event, Requeued) else "is quarantined"
        fields = {"run": url, "slice": event.item.id, **event.location.fields()}
        log.warning(f"group {event.item.id} {fate}: {event.reason}", extra=fields)
    elif isinstance(event, Notice):
        log.info(event.message, extra={"run": url})
