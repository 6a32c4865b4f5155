"""Ray: a pool of actors that runs any work on items and commits what comes out."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # read when ray is imported
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

if TYPE_CHECKING:
    from scanner.cluster.broken_devices import raise_broken_devices
    from scanner.cluster.events import Event, Task
    from scanner.cluster.failures import BrokenDevice
    from scanner.cluster.options import ActorOptions
    from scanner.cluster.placement import choose_resources
    from scanner.cluster.pool import run_items
    from scanner.cluster.resources import Resources, nodes
    from scanner.cluster.starting import check_ray, joins_cluster, start_for, start_ray
    from scanner.cluster.work import Item, Result, Work, report

__all__ = [
    "ActorOptions",
    "BrokenDevice",
    "Event",
    "Item",
    "Resources",
    "Result",
    "Task",
    "Work",
    "check_ray",
    "choose_resources",
    "joins_cluster",
    "nodes",
    "raise_broken_devices",
    "report",
    "run_items",
    "start_for",
    "start_ray",
]
_MODULES = {
    "broken_devices": ("raise_broken_devices",),
    "events": ("Event", "Task"),
    "failures": ("BrokenDevice",),
    "options": ("ActorOptions",),
    "placement": ("choose_resources",),
    "pool": ("run_items",),
    "resources": ("Resources", "nodes"),
    "starting": ("check_ray", "joins_cluster", "start_for", "start_ray"),
    "work": ("Item", "Result", "Work", "report"),
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: a command's options are shown without Ray and torch.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
