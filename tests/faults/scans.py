"""One scan on a machine, from its start to a sealed run, with faults on the way."""

import random
import re
import subprocess
import time
from dataclasses import dataclass, field

from scanner.run import Run
from tests.faults.machine import Machine
from tests.whole_scans import Scores, assert_nothing_lost

FAULTS = (
    *("actor", "driver", "node", "server", "second driver"),
    *("bad device", "bad node", "slow slice"),
)
# Rounds take up to 200 s on two cores that nothing else uses: only what never ends takes this.
LIMIT_SECONDS = 900.0
# How a driver may fail: it started while the store was away, or no node was left that works.
AWAY = re.compile(r"memscan: .*(Could not connect|cannot write here|store|cannot start).*")


@dataclass
class Disturbed:
    """A scan into ``out``: the faults and their times, and what they cost."""

    out: str
    faults: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    seconds: float = 0.0
    drivers: int = 0
    unused: int = 0

    @property
    def redone(self) -> int:
        """Slices requeued, and parts written that no commit names."""
        log = "\n".join(self.outputs)
        lost = sum(int(n) for n in re.findall(r"a node was lost; (\d+) items requeued", log))
        return lost + len(re.findall(r"slice \d+ failed, requeued", log)) + self.unused


def disturb(
    machine: Machine,
    options: tuple[str, ...],
    scan: Disturbed,
    faults: list[tuple[float, str]],
    choose: random.Random,
) -> None:
    """Run the scan to its end, with the faults at these seconds after its start.

    A driver that was killed is started again by the same command, as its user would.
    """
    command = (*options, "--model", "testbed", "--out", scan.out)
    due = sorted(faults)
    began = time.monotonic()
    drivers = [_start(machine, scan, command)]
    while drivers:
        now = time.monotonic() - began
        assert now < LIMIT_SECONDS, f"still running after {now:.0f} s: {scan}"
        for entry in [entry for entry in due if entry[0] <= now]:
            # A fault that finds nothing to disturb yet waits for it.
            if _inject(machine, scan, entry[1], drivers, command, choose):
                due.remove(entry)
                scan.faults.append(f"{entry[1]} {now:.0f} s")
        for driver in [driver for driver in drivers if driver.poll() is not None]:
            drivers.remove(driver)
            if not _ended_well(machine, scan, driver) and not drivers:
                drivers.append(_start(machine, scan, command))
        time.sleep(0.1)
    scan.seconds = time.monotonic() - began
    machine.settle()


def _start(machine: Machine, scan: Disturbed, command: tuple[str, ...]) -> subprocess.Popen[str]:
    scan.drivers += 1
    return machine.start(*command)


def _ended_well(machine: Machine, scan: Disturbed, driver: subprocess.Popen[str]) -> bool:
    output = machine.output(driver)
    scan.outputs.append(output)
    assert "Traceback" not in output, f"{scan.faults}\n{output}"
    if driver.returncode == 1:
        assert AWAY.search(output), f"{scan.faults}\n{output}"
    else:
        assert driver.returncode in (0, -9), f"{scan.faults}\n{output}"
    return driver.returncode == 0


def _inject(
    machine: Machine,
    scan: Disturbed,
    fault: str,
    drivers: list[subprocess.Popen[str]],
    command: tuple[str, ...],
    choose: random.Random,
) -> bool:
    """Inject a fault if it is time (kills wait for actors or commits); return whether it was."""
    if fault == "second driver":
        drivers.append(_start(machine, scan, command))
        return True
    if not machine.works():
        return False
    if fault == "driver":
        if not machine.files(f"{scan.out}/commits"):
            return False
        choose.choice(drivers).kill()
        return True
    if fault.startswith(("bad", "slow")):
        return getattr(machine, f"make_{fault.replace(' ', '_')}")(choose)
    return getattr(machine, f"kill_{fault}")(choose)


def check(scan: Disturbed, undisturbed: Scores) -> int:
    """Check that nothing is lost or scored twice; return the number of captions scored."""
    final = assert_nothing_lost(scan.out, undisturbed)
    run = Run.existing(scan.out)
    used = {part.path for commit in run.commits.all() for part in commit.parts}
    # Parts that were merged into others are gone.
    scan.unused = len(set(run.store.names("scores")) - used)
    return final["scored"]
