"""Options of the processes that do a command's work."""

from dataclasses import dataclass

from scanner.cluster.connection.runtime_env import check_runtime_env
from scanner.errors import UsageError


@dataclass(frozen=True)
class ActorOptions:
    """The processes that do the work, and where they run; a field's docstring is its help text."""

    actors: int | None = None
    """Number of worker processes; by default one per accelerator, or one per two cores if
    there is none. On a cluster, by default as many as fit, growing as nodes join. Unless this is
    above 1 or a cluster is named, small jobs (of scan: at most 256 forwards of the denoiser) run in
    the command's own process, without Ray and its start."""
    gpus_per_actor: float = 1.0
    """Accelerators per actor (0.5: two actors share one); ignored on the cpu."""
    cpus_per_actor: float | None = None
    """Cores per actor; by default the cores that this process may use, divided evenly among the
    actors."""
    address: str | None = None
    """Address of a Ray cluster (auto, or ray://host:port), RAY_ADDRESS by default. If unset, starts
    Ray locally; small jobs run without Ray."""
    runtime_env: str | None = None
    """Runtime environment of the actors on a cluster that lacks memscan or a setting: a YAML or
    JSON file with Ray's fields (pip, py_modules, env_vars, image_uri …), or a JSON object, such as
    {"py_modules": ["scanner"]}. Not stored in the run."""

    def check_actors(self) -> None:
        """Raise UsageError for numbers that are out of range, and for a runtime environment that
        is invalid or has no cluster."""
        if self.actors is not None and self.actors < 1:
            raise UsageError(f"--actors {self.actors}: must be at least 1")
        if self.gpus_per_actor <= 0:
            raise UsageError(f"--gpus-per-actor {self.gpus_per_actor}: must be more than 0")
        if self.cpus_per_actor is not None and self.cpus_per_actor <= 0:
            raise UsageError(f"--cpus-per-actor {self.cpus_per_actor}: must be more than 0")
        check_runtime_env(self.runtime_env, self.address)
