"""Server processes: on a port that nobody else takes, with a start that says why it failed."""

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

# Below the ports that Linux gives to whoever asks for any, so none is taken from under a server.
FIRST_PORT, LAST_PORT = 20000, 32767
SLICES = 16
START_SECONDS = 120.0
# Ends with the thread that started it. Not by preexec_fn, which may deadlock beside other threads.
BOUND = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
# One thread that lasts as long as this process: a test's own would take its server along.
_starter = ThreadPoolExecutor(1)
_given: set[int] = set()


def free_port() -> int:
    """A port that nothing listens on, of this worker's share, never the same one twice."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", f"gw{SLICES - 1}").removeprefix("gw")
    size = (LAST_PORT + 1 - FIRST_PORT) // SLICES
    first = FIRST_PORT + size * (int(worker) % SLICES)
    ports = [port for port in range(first, first + size) if port not in _given]
    for port in random.SystemRandom().sample(ports, len(ports)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise AssertionError(f"no port is free from {first} to {first + size - 1}")


class Server:
    """A process that listens on ``port``; it can be killed and started again, and ends with us.

    ``command``: the path of a program, and its arguments.
    """

    def __init__(self, command: list[str], port: int) -> None:
        self.command, self.port = command, port
        self.start()

    def start(self) -> None:
        """Returns when it listens; raises with what it said where it does not."""
        bound = [sys.executable, "-c", BOUND, str(os.getpid()), *self.command]
        with tempfile.TemporaryFile() as said:
            popen = _starter.submit(subprocess.Popen, bound, stdout=said, stderr=said)
            self.process = popen.result()
            deadline = time.monotonic() + START_SECONDS
            while not self._listens():
                ended = self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    self.kill()
                    said.seek(0)
                    what = f"ended with {self.process.returncode}" if ended else "does not listen"
                    raise RuntimeError(
                        f"{' '.join(self.command)} {what}: {said.read().decode()[-2000:]}"
                    )
                time.sleep(0.05)

    def kill(self) -> None:
        """By signal 9."""
        self.process.kill()
        self.process.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def bucket_server(folder: Path) -> Server:
    """An S3 server with one bucket, ``bucket``, whose objects are files of ``folder``."""
    (folder / "bucket").mkdir(parents=True)
    port = free_port()
    return Server([sys.executable, "-m", "localbucket", "--port", str(port), str(folder)], port)


def point_to(port: int, environ: pytest.MonkeyPatch, **settings: str) -> None:
    """Let this process, and those it starts, take the server on ``port`` for S3.

    ``settings``: further variables, or others than the usual ones.
    """
    usual = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "a-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in {**usual, **settings}.items():
        environ.setenv(name, value)
