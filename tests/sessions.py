"""Drivers in sessions of their own: held where a test kills them, with all that they started."""

import contextlib
import os
import signal
import subprocess

import psutil

from tests.forking import FORKED, forked_session, forking_python
from tests.waiting import wait_until

# One item at a time, and none after the first commit: what is done at the kill is no race.
HELD = f"""{FORKED}
import ctypes, dataclasses, importlib, signal, sys, time
from scanner.cluster import Committed
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with pytest
module = importlib.import_module(sys.argv[1])
execute = module.execute

def held(*arguments, on_event, execution, **options):
    def hold(event):
        on_event(event)
        if isinstance(event, Committed):
            time.sleep(3600)

    execution = dataclasses.replace(execution, in_flight=1)
    return execute(*arguments, on_event=hold, execution=execution, **options)

module.execute = held
"""


def start_held(module: str, call: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A driver that makes ``call`` (its arguments are ``sys.argv[2:]``) and stays where it is once
    the pool that ``module`` runs, of one actor, has committed one item."""
    command = [forking_python(), "-c", HELD + call, module, *arguments]
    return subprocess.Popen(command, start_new_session=True)


def kill_session(driver: subprocess.Popen[bytes]) -> None:
    """Kill the driver and all of its session: its actors are in process groups of their own, and
    would go on for a while. ``driver``: started with start_new_session."""
    sessions = {driver.pid, forked_session(driver.pid)}
    driver.kill()
    driver.wait()
    wait_until(lambda: not _kill(_living(sessions)), "some processes cannot be killed")


def _kill(processes: list[int]) -> list[int]:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return processes


def _living(sessions: set[int | None]) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            is_living = process.status() != psutil.STATUS_ZOMBIE
            if os.getsid(process.pid) in sessions and is_living:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass  # it ended while we looked
    return found
