"""Slurm's part in the batch script: what sets its variables, runs its steps, and requeues it."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "infra/slurm/scan.sbatch"
# Each word of --enter, by turns, is put before the command of one node, all at the same time.
SRUN = """
while [ "$1" != bash ]; do shift; done
status=0
for enter in "${ENTER[@]}"; do $enter "$@" & tasks+=($!); done
trap 'kill "${tasks[@]}"' TERM
for task in "${tasks[@]}"; do
    wait "$task" || status=$?
    while kill -0 "$task" 2>/dev/null; do wait "$task"; done
done
exit "$status"
"""
SCONTROL = 'echo "$@" >> "$REQUEUED"\n'
SQUEUE = 'echo "${STATE:-RUNNING}"\n'


class SlurmJob:
    """A job of the batch script, of which every start is one of these.

    ``enter``: per node, the command that another is run with to be on it; ``programs``: the text
    of further programs in bash, by name.
    """

    def __init__(
        self, folder: Path, *enter: str, programs: dict[str, str] | None = None, **variables: str
    ) -> None:
        self.folder, self.enter = folder, enter or ("env",)
        self.id = str(random.SystemRandom().randrange(10**8, 10**9))
        self.jobs, self.requeued = folder / "jobs", folder / "requeued"
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        nodes = " ".join(f"'{one}'" for one in self.enter)
        texts = {"srun": f"ENTER=({nodes})\n{SRUN}", "scontrol": SCONTROL, "squeue": SQUEUE}
        for name, text in (texts | (programs or {})).items():
            (bin_folder / name).write_text(f"#!/usr/bin/env bash\n{text}")
            (bin_folder / name).chmod(0o755)
        own = {
            "PATH": f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MEMSCAN_JOBS": str(self.jobs),
            "REQUEUED": str(self.requeued),
            "SLURM_JOB_ID": self.id,
            "SLURM_JOB_NUM_NODES": str(len(self.enter)),
            "SLURM_CPUS_PER_TASK": "1",
        }
        self.environment = os.environ | own | variables

    @property
    def requeues(self) -> list[str]:
        """What ``scontrol`` was called with."""
        return self.requeued.read_text().splitlines() if self.requeued.exists() else []

    @property
    def node_folder(self) -> Path:
        """Where Ray's files are while the job runs."""
        return Path(f"/tmp/memscan-{self.id}")

    def start(self, *options: str, restarts: int = 0) -> subprocess.Popen[str]:
        """Start the batch script on the first node, as Slurm does, with options of the scan."""
        log = (self.folder / "log").open("a")
        with log:
            return subprocess.Popen(
                [*self.enter[0].split(), "bash", str(SCRIPT), *options],
                env=self.environment | {"SLURM_RESTART_COUNT": str(restarts)},
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def log(self) -> str:
        """Return what all starts have printed."""
        return (self.folder / "log").read_text()

    def clean(self) -> None:
        """Remove the folder of the node, which a script that was killed leaves."""
        shutil.rmtree(self.node_folder, ignore_errors=True)
