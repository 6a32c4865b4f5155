"""Ray: one executor that runs any work over items and commits what comes out.

Ray itself, which takes seconds to import, is imported where a cluster is started or joined.
"""

import os

os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # read when ray is imported
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# isort: split
from scanner.cluster.connection.address import joins_cluster, may_run_in_process
from scanner.cluster.connection.autoscaling import request_cpus
from scanner.cluster.connection.options import ActorOptions
from scanner.cluster.connection.resources import Resources, nodes
from scanner.cluster.connection.starting import check_ray, start_ray
from scanner.cluster.events import (
    Committed,
    Event,
    Notice,
    Quarantined,
    Requeued,
    Started,
    Task,
    Tick,
)
from scanner.cluster.executor import Execution, InProcess, Outcome, execute
from scanner.cluster.failures import BrokenDevice
from scanner.cluster.limits import RetryLimits, Timing
from scanner.cluster.work import Item, Result, Work, report

__all__ = [
    "ActorOptions",
    "BrokenDevice",
    "Committed",
    "Event",
    "Execution",
    "InProcess",
    "Item",
    "Notice",
    "Outcome",
    "Quarantined",
    "Requeued",
    "Resources",
    "Result",
    "RetryLimits",
    "Started",
    "Task",
    "Tick",
    "Timing",
    "Work",
    "check_ray",
    "execute",
    "joins_cluster",
    "may_run_in_process",
    "nodes",
    "report",
    "request_cpus",
    "start_ray",
]
