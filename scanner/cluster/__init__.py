"""Ray: a pool of actors that runs any work on items and commits what comes out."""

from scanner.cluster.resources import Resources, joins_cluster, nodes, start_for, start_ray

# isort: split
from scanner.cluster.events import Event, Task
from scanner.cluster.failures import BrokenDevice
from scanner.cluster.pool import run_items
from scanner.cluster.work import Item, Result, Work

__all__ = [
    "BrokenDevice",
    "Event",
    "Item",
    "Resources",
    "Result",
    "Task",
    "Work",
    "joins_cluster",
    "nodes",
    "run_items",
    "start_for",
    "start_ray",
]
