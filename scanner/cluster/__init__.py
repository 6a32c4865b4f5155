"""Ray: a pool of actors that runs any work on items and commits what comes out."""

from scanner.cluster.resources import Resources, nodes

# isort: split
from scanner.cluster.events import Event, Task
from scanner.cluster.failures import BrokenDevice
from scanner.cluster.pool import run_items
from scanner.cluster.starting import check_ray, joins_cluster, start_for, start_ray
from scanner.cluster.work import Item, Result, Work, report

__all__ = [
    "BrokenDevice",
    "Event",
    "Item",
    "Resources",
    "Result",
    "Task",
    "Work",
    "check_ray",
    "joins_cluster",
    "nodes",
    "report",
    "run_items",
    "start_for",
    "start_ray",
]
