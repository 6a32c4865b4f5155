"""A Python that forks: processes that tests start share what one process has imported.

To import torch, diffusers and transformers takes seconds, and most processes of the tests do little
else. Each of pytest's processes starts a server that imports them once. ``forking_python`` gives a
program that takes Python's own arguments: processes of a local Ray, ``-m jobs.cli`` and ``-c`` with
code that begins with ``FORKED`` become forks of the server, with their own arguments, environment,
directory and files. Python itself runs anything else, and any process whose environment would
change what is imported.
"""

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.forking.client import FORKED

__all__ = ["FORKED", "forked_session", "forking_python"]
ROOT = Path(__file__).parents[2]
# Variables that libraries read when they are imported.
READ_AT_IMPORT = ("HF_", "TRANSFORMERS_", "DIFFUSERS_", "XDG_", "OMP_", "TORCH", "PYTHON", "HOME")
# Those that torch.compile and ray.init set in the process that calls them, and one that is read for
# each request.
SET_LATER = ("TORCHINDUCTOR_CACHE_DIR", "PYTHONBREAKPOINT", "HF_TOKEN")
OF_A_LOCAL_RAY = {"OMP_WAIT_POLICY": "PASSIVE"}


@functools.cache
def forking_python() -> str:
    """Return the path of the program; its server starts with it, and ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="forks"))
    address, program = folder / "server", folder / "python"
    environment = {**os.environ, **OF_A_LOCAL_RAY}
    ours, theirs = socket.socketpair()
    words = (str(address), str(program), str(theirs.fileno()))
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.forking.server", *words],
        pass_fds=[theirs.fileno()],
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    atexit.register(_end, server, ours)
    theirs.close()
    if not ours.recv(1):
        raise RuntimeError(f"the server of forks ended with status {server.wait()}")
    same = {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_IMPORT) and name not in SET_LATER
    }
    about = {
        "python": sys.executable,
        "address": str(address),
        "prefixes": READ_AT_IMPORT,
        "exceptions": SET_LATER,
        "environment": same,
    }
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    client = (ROOT / "tests/forking/client.py").read_text(encoding="utf-8")
    program.write_text(f"#!{sys.executable} -IS\n{client}", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def forked_session(process: int) -> int | None:
    """Return the session of the fork that a process waits for, None if it waits for none."""
    try:
        word, _, fork = Path(f"/proc/{process}/comm").read_text(encoding="utf-8").partition(" ")
    except OSError:
        return None
    return int(fork) if word == "fork" else None


def _end(server: "subprocess.Popen[bytes]", ours: socket.socket) -> None:
    ours.close()
    server.kill()
    server.wait()
