"""A cluster in one machine: Ray nodes, an on-disk S3 server, drivers; and what kills them."""

import os
import random
import secrets
import select
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.forking import forked_session, forking_python
from tests.servers import Server

NODES = 2
BACK_SECONDS = 8.0
ANSWER_SECONDS = 180.0


class Machine:
    """Two Ray nodes of one core beside a head without any, and an S3 server process."""

    def __init__(self, folder: Path, server: Server) -> None:
        """``server``: the environment points to it already, for the nodes take it over."""
        self.folder, self.server = folder, server
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        self.nodes = subprocess.Popen(
            [forking_python(), "-m", "tests.faults.nodes"],
            env=os.environ | self.token | {"RAY_worker_niceness": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._answer()
        assert self.address, "no Ray cluster has started"
        self.alive = 0
        self._is_server_away = False
        self._talking = threading.Lock()
        self.drivers: list[subprocess.Popen[str]] = []
        self.late: list[threading.Thread] = []
        for _ in range(NODES):
            self._add_node()

    def close(self) -> None:
        """End everything that was started here."""
        for driver in self.drivers:
            driver.kill()
            driver.wait()
        self.settle()
        self.nodes.communicate()
        self.server.kill()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A driver, as a user starts it."""
        command = [forking_python(), "-m", "tests.faults.spoiled_scan", *arguments]
        driver = subprocess.Popen(
            [*command, "--address", self.address, "--cpus-per-actor", "1"],
            env=os.environ | self.token | {"FAULT_TOKENS": str(self.tokens)},
            stdout=self._log(len(self.drivers)).open("w"),
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.drivers.append(driver)
        return driver

    def output(self, driver: subprocess.Popen[str]) -> str:
        """Return what a driver has printed."""
        return self._log(self.drivers.index(driver)).read_text()

    def _log(self, number: int) -> Path:
        # A file: a pipe that nobody reads would stop the driver when it is full.
        return self.folder / f"driver-{number}.log"

    def settle(self) -> None:
        """Wait until what was killed for a while is back, and what was bad is mended."""
        for thread in self.late:
            thread.join()
        self.late.clear()
        for token in self.tokens.iterdir():
            token.unlink()

    def works(self) -> bool:
        """Whether there are actors."""
        return bool(self._actors())

    def files(self, url: str) -> list[Path]:
        """What the server keeps in a folder; also while it is away."""
        return list((self.folder / "s3" / url.removeprefix("s3://")).glob("*.json"))

    # -- what is killed, by signal 9; each returns whether there was something to kill ------------

    def kill_actor(self, choose: random.Random) -> bool:
        """Kill an actor of the scan."""
        found = self._actors()
        if found:
            choose.choice(found).kill()
        return bool(found)

    def kill_node(self, choose: random.Random) -> bool:
        """Kill a node with all its processes; another one joins some seconds later."""
        if self.alive < NODES:
            return False
        self._tell(f"kill {choose.randrange(self.alive)}")
        self._later(choose.uniform(0, BACK_SECONDS), self._add_node)
        return True

    def kill_server(self, choose: random.Random) -> bool:
        """Kill the S3 server, which is back some seconds later."""
        if self._is_server_away:
            return False
        self._is_server_away = True
        self.server.kill()
        self._later(choose.uniform(0.5, BACK_SECONDS), self._restart_server)
        return True

    # -- what goes bad for a while -------------------------------------------------------------

    def make_bad_device(self, choose: random.Random) -> bool:
        """Break the device of a node for every slice."""
        return self._spoil("bad", choose)

    def make_bad_node(self, choose: random.Random) -> bool:
        """Let no actor start on a node; one is killed, so that one has to start."""
        return self._spoil("cold", choose) and self.kill_actor(choose)

    def make_slow_slice(self, choose: random.Random) -> bool:
        """Let a slice take longer than a hang is waited for, with signs of life."""
        (self.tokens / f"slow-{choose.random()}").touch()
        return True

    def _spoil(self, fault: str, choose: random.Random) -> bool:
        """Offer a fault to one node, unless one is spoiled already: the other one works."""
        if any(token.name.startswith(("bad", "cold")) for token in self.tokens.iterdir()):
            return False
        (self.tokens / fault).touch()
        self._later(choose.uniform(2, BACK_SECONDS), lambda: self._mend(fault))
        return True

    def _mend(self, fault: str) -> None:
        for token in self.tokens.glob(f"{fault}*"):
            token.unlink(missing_ok=True)

    def _actors(self) -> list[psutil.Process]:
        """Return the actors on these nodes, by the title that Ray gives their processes."""
        found = []
        for child in psutil.Process(_running(self.nodes.pid)).children(recursive=True):
            try:
                process = psutil.Process(_running(child.pid))
                if " ".join(process.cmdline()).startswith("ray::WorkActor"):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                pass  # it ended while we looked
        return sorted(found, key=lambda process: process.pid)

    def _restart_server(self) -> None:
        self.server.start()
        self._is_server_away = False

    def _add_node(self) -> None:
        self._tell("add")

    def _tell(self, command: str) -> None:
        with self._talking:
            assert self.nodes.stdin
            self.nodes.stdin.write(f"{command}\n")
            self.nodes.stdin.flush()
            self.alive = int(self._answer().split()[0])

    def _answer(self) -> str:
        """Return the next line of the nodes' process."""
        assert self.nodes.stdout
        ready, _, _ = select.select([self.nodes.stdout], [], [], ANSWER_SECONDS)
        assert ready, f"no answer of the nodes' process for {ANSWER_SECONDS:.0f} s"
        return self.nodes.stdout.readline().strip()

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        def wait() -> None:
            time.sleep(seconds)
            what()

        thread = threading.Thread(target=wait)
        thread.start()
        self.late.append(thread)


def _running(process: int) -> int:
    """Return the process, or the fork that runs in its place."""
    return forked_session(process) or process
