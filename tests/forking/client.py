"""Takes Python's arguments, and lets a fork of the server run them in its place.

Stands alone, as the program ``python`` beside ``about.json``, and imports little: it starts often.
"""

import array
import json
import os
import signal
import socket
import sys

SCRIPTS = (  # Ray's
    *("default_worker.py", "dashboard.py", "agent.py", "main.py", "log_monitor.py", "monitor.py"),
)
MODULES = ("jobs.cli", "tests.faults.nodes", "tests.faults.spoiled_scan")
FORKED = "# forked\n"  # how code for -c begins that may run in a fork


def main() -> None:
    with open(os.path.join(os.path.dirname(sys.argv[0]), "about.json")) as file:  # noqa: PTH118, PTH120
        about = json.load(file)
    words = sys.argv[1:]
    if words[:1] == ["-u"]:
        del words[0]
    script = os.path.basename(words[0]) if words else ""  # noqa: PTH119
    module = words[1] if words[:1] == ["-m"] else ""
    prefixes = tuple(about["prefixes"])
    same = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(prefixes) and name not in about["exceptions"]
    }
    is_marked = words[:1] == ["-c"] and words[1].startswith(FORKED)
    if (script in SCRIPTS or module in MODULES or is_marked) and same == about["environment"]:
        _fork(about["address"], words, passes_signals=is_marked)
    os.execv(about["python"], [about["python"], *sys.argv[1:]])


def _fork(address: str, words: list[str], passes_signals: bool) -> None:
    """End as a fork of the server ends; return if there is no server."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.connect(address)
    except OSError:
        return
    fork = int.from_bytes(server.recv(4), "big")
    if not fork:
        return
    for number in (signal.SIGINT, signal.SIGTERM) if passes_signals else ():
        signal.signal(number, lambda sent, _: os.kill(fork, sent))
    with open("/proc/self/comm", "w") as name:
        name.write(f"fork {fork}")
    # The fork begins when it has all of this.
    request = json.dumps([words, dict(os.environ), os.getcwd()]).encode()  # noqa: PTH109
    files = array.array("i", [0, 1, 2])
    length = len(request).to_bytes(4, "big")
    server.sendmsg([length], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
    server.sendall(request)
    status = server.recv(1)
    os._exit(status[0] if status else 137)


if __name__ == "__main__":
    main()
