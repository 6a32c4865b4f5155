"""Imports the libraries, then forks for every client; ends with the process that started it."""

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import types

# None starts a thread. Not Ray, which keeps the environment in which it is imported, but what its
# workers and agents import.
LIBRARIES = (
    *("diffusers", "transformers", "scanner.scan.work", "scanner.evidence.verify.generation"),
    *("scanner.query", "scanner.scan.score_plan", "jobs.scan", "jobs.verify"),
    *("aiohttp.web", "aiohttp_cors", "google.protobuf.descriptor_pb2", "jsonschema", "msgpack"),
    *("opencensus.stats.stats", "opentelemetry.exporter.prometheus", "pandas", "pydantic.v1"),
    "prometheus_client",
)
CLASSES = {
    "diffusers": ("AutoencoderKL", "DDIMScheduler", "UNet2DConditionModel"),
    "transformers": ("AutoTokenizer", "CLIPTextModel", "CLIPTokenizer"),
}


def main() -> None:
    address, program, parent = sys.argv[1], sys.argv[2], socket.socket(fileno=int(sys.argv[3]))
    # Else forks would ignore it where the shell that began the tests does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()
    for library in LIBRARIES:
        module = importlib.import_module(library)
        for name in CLASSES.get(library, ()):
            getattr(module, name)  # imported when it is first used
    importlib.import_module("scanner.storage.retrying_s3").make_session().warm_up_loader_caches(
        "s3"
    )
    if threading.active_count() > 1 or "ray" in sys.modules:
        raise RuntimeError("a fork would lack the threads, or have another Ray's environment")
    sys.executable = program
    gc.freeze()  # memory stays shared
    gc.enable()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(64)
    parent.sendall(b"+")
    _serve(listener, parent)


def _serve(listener: socket.socket, parent: socket.socket) -> None:
    ended, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup.fileno())
    clients: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([listener, ended, parent], [], [])
        if parent in ready:
            return
        if ended in ready:
            ended.recv(4096)
            _report_ended(clients)
        if listener in ready:
            client, _ = listener.accept()
            if child := os.fork():
                clients[child] = client
                with contextlib.suppress(OSError):
                    client.sendall(child.to_bytes(4, "big"))
                continue
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (listener, ended, wakeup, parent, *clients.values()):
                other.close()
            os.setsid()  # Ray ends the whole process group of a worker
            _run_for(client)


def _report_ended(clients: dict[int, socket.socket]) -> None:
    """Tell clients the exit statuses of their forks that have ended."""
    while clients:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError), clients.pop(child) as client:
            client.sendall(bytes([code if code >= 0 else 128 - code]))


def _run_for(client: socket.socket) -> None:
    """Run what a client was asked to run, in this fork, and end with it."""
    status = 1
    try:
        words = _take_over(client)
        threading.Thread(target=_end_with, args=(client,), daemon=True).start()
        status = _run(words)
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _take_over(client: socket.socket) -> list[str]:
    """Take the files, environment and directory of a client; return its arguments."""
    length, files, _, _ = client.recvmsg(4, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    for number, file in enumerate(array.array("i", files[0][2])):
        os.dup2(file, number)
        os.close(file)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        errors = "backslashreplace" if name == "stderr" else "strict"
        mode = "w" if number else "r"
        stream = open(number, mode, encoding="utf-8", errors=errors)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    request = b""
    while len(request) < int.from_bytes(length, "big"):
        request += client.recv(1 << 16)
    words, environment, directory = json.loads(request)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    return list(words)


def _end_with(client: socket.socket) -> None:
    """End this fork at once if its client is killed."""
    client.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _run(words: list[str]) -> int:
    """Run a script, a module or code as ``__main__``; return its exit status."""
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(words[1], "<string>", "exec"), vars(sys.modules["__main__"]))
        else:
            sys.argv = words
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    main()
