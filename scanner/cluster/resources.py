"""Ray, started or joined, and what its nodes have room for."""

import os
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # read when ray is imported
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from scanner.errors import UserError


@dataclass(frozen=True)
class Resources:
    """How many actors, and what each one takes of a node.

    ``actors`` None: as many as the cluster has room for, also as nodes join it.
    """

    actors: int | None
    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        """Threads that an actor computes on."""
        return max(1, int(self.cpus))

    def count(self) -> int:
        """How many actors work: as many as are asked for, else as there is room for now."""
        return self.actors or max(1, self.fit())

    def fit(self) -> int:
        """How many actors the living nodes have room for."""
        return sum(self._fit(node) for node in nodes())

    def _fit(self, node: dict[str, float]) -> int:
        rooms = []
        if self.cpus:
            rooms.append(int(node.get("CPU", 0.0) / self.cpus + 1e-9))
        if self.gpus:
            gpus = node.get("GPU", 0.0)
            # Ray never spreads a fraction over two GPUs: what is left of each one is lost.
            many = int(gpus) * int(1 / self.gpus + 1e-9)
            rooms.append(many if self.gpus < 1 else int(gpus / self.gpus + 1e-9))
        return min(rooms, default=0)


def nodes() -> list[dict[str, float]]:
    """The resources of each living node, by Ray's names."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def joins_cluster(address: str | None) -> bool:
    """Whether a running Ray is meant: by address, or by RAY_ADDRESS as in a cluster's job."""
    return bool(address or os.environ.get("RAY_ADDRESS"))


def start_ray(address: str | None) -> None:
    """Connect to a cluster, or start a local Ray where no address is given."""
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if not joins_cluster(address):
        options |= {"address": "local", "include_dashboard": False}
    elif address:
        options |= {"address": address}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        named = address or os.environ.get("RAY_ADDRESS") or "local"
        raise UserError(
            f"--address {named}: no Ray to connect to: {error} (a cluster with tokens wants its "
            "own in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)"
        ) from error


def start_for(resources: Resources, address: str | None) -> None:
    """As start_ray, for such actors. Raises UserError where a local Ray has no room for any: no
    node is going to join it."""
    start_ray(address)
    if joins_cluster(address) or resources.fit():
        return
    cpus, gpus = (max(node.get(name, 0.0) for node in nodes()) for name in ("CPU", "GPU"))
    raise UserError(
        f"an actor takes {resources.cpus:g} CPUs and {resources.gpus:g} GPUs, and there are "
        f"{cpus:g} and {gpus:g}; lower --cpus-per-actor or --gpus-per-actor"
    )
