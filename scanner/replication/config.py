"""The options of a replication."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from scanner.cluster.connection.options import ActorOptions
from scanner.errors import UsageError
from scanner.models.device.device_option import check_device
from scanner.replication.kits import Kit, ModelName, kits
from scanner.scan.gpu_estimate import find_card
from scanner.scoring.spec import ProfileName

SIDES = (1.0, 0.75, 0.5)
PROFILES: tuple[ProfileName, ...] = (
    "triage",
    "late-half",
    "late",
    "standard",
    "thorough",
    "trajectory",
    "all",
)


@dataclass(frozen=True)
class ReplicateConfig(ActorOptions):
    """What is replicated, with which scans; a field's docstring is its help text."""

    model: Annotated[ModelName, tyro.conf.Positional] = field(kw_only=True)
    """sd14, sd2 or rv51 (Realistic Vision 5.1): fetches weights and public prompt lists. testbed,
    testbed-dit: a small model and its labels in this package, offline."""
    out: str = "replication"
    """Directory or URL for lists, runs, calibrations and the page. Rerun the same command to
    resume."""
    profiles: tuple[ProfileName, ...] = PROFILES
    """Profiles to scan with, by default every one."""
    sides: tuple[float, ...] = SIDES
    """Latent sides to scan at, as shares of the model's own: 0.5 is a quarter of the cost. Should
    include 1."""
    timesteps: tuple[int, ...] | None = None
    """Timesteps of the norm on pure noise to sweep at every side; by default ten from 981 to 1 (six
    for testbed-dit)."""
    limit: int | None = None
    """Evaluate at most this many prompts, up to half of them memorized. By default all; for a
    testbed 240 of 1,346."""
    weights: str | None = None
    """Weights to scan instead: a hub id, directory, URL or .safetensors checkpoint. The page marks
    the deviation."""
    revision: str | None = None
    """Revision of the weights on the hub; by default the newest on first use, which lock.json then
    pins."""
    mirror: str | None = None
    """Base URL or directory that has the files of the prompt lists under their names, instead of
    their public addresses. Hashes are checked all the same."""
    device: str = "auto"
    """cuda, cpu, or auto: cuda if available."""
    dtype: str = "auto"
    """float32, float16, bfloat16 or auto (float16 on cuda, float32 on cpu)."""
    dry_run: bool = False
    """Print the scans, estimated GPU-hours and the size of the download. Fetches and writes
    nothing."""
    gpu: str = "a100"
    """With --dry-run, the card to estimate hours for, as for memscan scan --gpu."""
    json: bool = False
    """Print the result as JSON."""

    @property
    def kit(self) -> Kit:
        return kits()[self.model]

    @property
    def prompts(self) -> int | None:
        """The most prompts to evaluate, None for all."""
        return self.kit.limit if self.limit is None else self.limit

    @property
    def swept(self) -> tuple[int, ...]:
        """The timesteps of the sweep."""
        return self.kit.timesteps if self.timesteps is None else self.timesteps

    def check(self) -> None:
        """Raise UsageError for options that are out of range or contradict each other."""
        self.check_actors()
        check_device(self.device)
        find_card(self.gpu)
        if not self.out:
            raise UsageError("--out: name the directory that the results are written to")
        if self.limit is not None and self.limit < 2:
            raise UsageError(f"--limit {self.limit}: must be at least 2")
        if bad := [side for side in self.sides if not 0.25 <= side <= 1]:
            raise UsageError(f"--sides {bad[0]:g}: must be from 0.25 to 1, a share of the side")
        if not self.profiles and not self.swept:
            raise UsageError("--profiles and --timesteps: name at least one profile or timestep")
        if not self.sides:
            raise UsageError("--sides: name at least one, such as 1")
        if self.kit.is_packaged and (self.weights or self.revision or self.mirror):
            raise UsageError(
                f"--weights, --revision and --mirror replace what is fetched; {self.model} "
                "fetches nothing"
            )
