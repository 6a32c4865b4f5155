"""What an actor takes of a node, and how many actors the nodes have room for."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """The number of actors, and the CPUs and GPUs of a node that each takes.

    ``actors`` None: as many as the cluster has room for, also as nodes join it.
    """

    actors: int | None
    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        """Number of threads that an actor computes on."""
        return max(1, int(self.cpus))

    def count(self) -> int:
        """Return the number of actors: as requested, else as many as fit now."""
        return self.actors or max(1, self.fit())

    def fit(self, without: Collection[str] = ()) -> int:
        """Return how many actors the living nodes have room for, ``without`` those of these ids."""
        return sum(self._fit(node) for node in nodes(without))

    def _fit(self, node: dict[str, float]) -> int:
        limits = []
        if self.cpus:
            limits.append(int(node.get("CPU", 0.0) / self.cpus + 1e-9))
        if self.gpus:
            gpus = node.get("GPU", 0.0)
            # Ray never spreads a fraction over two GPUs; the rest of each one is lost.
            shares = int(gpus) * int(1 / self.gpus + 1e-9)
            limits.append(shares if self.gpus < 1 else int(gpus / self.gpus + 1e-9))
        return min(limits, default=0)


def nodes(without: Collection[str] = ()) -> list[dict[str, float]]:
    """Return the resources of each living node, by Ray's names, ``without`` those of these ids."""
    import ray

    living = [node for node in ray.nodes() if node["Alive"]]
    return [node["Resources"] for node in living if node["NodeID"] not in without]
