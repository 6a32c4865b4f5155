"""What Ray's nodes have room for, and what an actor takes."""

from dataclasses import dataclass

import ray


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
