"""The address of a Ray cluster: an option, or RAY_ADDRESS as in a cluster's job."""

import os
import sys


def joins_cluster(address: str | None) -> bool:
    """Return whether a running Ray is meant, not a local one."""
    return resolve_address(address) not in ("", "local")


def may_run_in_process(actors: int | None, address: str | None) -> bool:
    """Return whether small work needs no Ray: no cluster is named, nor several actors."""
    return not joins_cluster(address) and (actors or 1) == 1


def resolve_address(address: str | None) -> str:
    """Return the address by option or environment, "" for neither."""
    return address or os.environ.get("RAY_ADDRESS") or ""


def name_address(address: str | None) -> str:
    """Return an address as the user gave it, for errors."""
    return f"--address {address}" if address else f"RAY_ADDRESS={resolve_address(address)}"


def is_connected() -> bool:
    """Return whether this process has started or joined a Ray already; imports nothing."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()
