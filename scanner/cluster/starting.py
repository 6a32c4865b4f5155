"""Start a local Ray, or join a cluster: what would fail or hang is named before Ray is asked."""

import contextlib
import errno
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scanner.cluster.address import (
    is_connected,
    joins_cluster,
    name_address,
    resolve_address,
)
from scanner.cluster.ray_token import has_token_or_place, require_token
from scanner.cluster.resources import Resources, nodes
from scanner.cores import usable_cores
from scanner.errors import UserError

ANSWER_SECONDS = 8.0
JOIN_SECONDS = 30.0
CLIENT, CLIENT_PORT = "ray://", 10001
# Of a Unix socket's path, and what Ray puts behind its folder for temporary files.
SOCKET_BYTES = 103
SESSION = "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
ROOM_BYTES = 32 << 20
TRIAL_BYTES = 1 << 20


def check_ray(address: str | None) -> list[str]:
    """Raise UserError, within seconds, for a cluster that does not answer, or for a place where a
    local Ray cannot start; else say what is going to be worked around, a line each."""
    if is_connected():
        return []
    if joins_cluster(address):
        _check_answers(address)
        return []
    lines = []
    if short := _temporary_folder():
        name, folder = _folder_variable()
        lines.append(
            f"{name}={folder}: too long a path for Ray's sockets; its files go to {short}/ray"
        )
    if not has_token_or_place():
        lines.append(
            f"HOME={os.environ.get('HOME', '')}: cannot be written; Ray's token stays in memory"
        )
    return lines


def start_ray(address: str | None) -> None:
    """Join a cluster, or start a local Ray where no address is given.

    Raises UserError that names the variable and its value, or the address, where neither can be.
    """
    if is_connected():
        return
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if joins_cluster(address):
        _check_answers(address)
        _init(address, lambda: _within(JOIN_SECONDS, address, options))
        return
    options |= {"address": "local", "include_dashboard": False, "num_cpus": usable_cores()}
    folder = _temporary_folder()
    if folder:
        options["_temp_dir"] = f"{folder}/ray"
    require_token()
    _init(address, lambda: ray.init(**options))


def start_for(resources: Resources, address: str | None) -> None:
    """As start_ray, for such actors. Raises UserError where a local Ray has no room for any: no
    node is going to join it."""
    start_ray(address)
    if joins_cluster(address) or resources.fit():
        return
    cpus, gpus = (max(node.get(name, 0.0) for node in nodes()) for name in ("CPU", "GPU"))
    raise UserError(
        f"an actor takes {resources.cpus:g} CPUs and {resources.gpus:g} GPUs, and there are "
        f"{cpus:g} and {gpus:g}; lower --cpus-per-actor or --gpus-per-actor"
    )


def _init(address: str | None, init: Callable[[], Any]) -> None:
    try:
        with _own_signals():
            init()
    except UserError:
        raise
    except Exception as error:  # Ray raises OSError, ValueError, RuntimeError, its own and gRPC's
        if joins_cluster(address):
            raise UserError(
                f"{name_address(address)}: no Ray to connect to: {error} (a cluster with tokens "
                "needs its own in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)"
            ) from error
        raise UserError(
            f"a local Ray cannot start: {type(error).__name__}: {error} (its files go to "
            f"{_folder_variable()[1]}/ray; another folder: TMPDIR=/a/short/path with free space)"
        ) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the process's handler of SIGTERM, which Ray replaces by one that exits at once."""
    own = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(own) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, own)


# -- a cluster ------------------------------------------------------------------------------------


def _check_answers(address: str | None) -> None:
    """Raise UserError where nothing that speaks gRPC, as every Ray does, answers at an address."""
    wanted = resolve_address(address)
    target = _current_cluster() if wanted == "auto" else wanted
    place, is_client = target.removeprefix(CLIENT), target.startswith(CLIENT)
    host, colon, port = place.partition("?")[0].rpartition(":")
    if not colon and is_client:
        host, port = port, str(CLIENT_PORT)
    if not host or "://" in place or not port.isdigit():
        return  # Ray's own error tells what is wrong with such an address
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
        _check_grpc(f"{host}:{port}")
    except OSError as error:
        why = error.strerror or "no answer"
        raise UserError(
            f"{name_address(address)}: no Ray answers at {host}:{port} ({why}); start one there "
            "(ray start --head), name another, or leave out --address and RAY_ADDRESS to start a "
            "local Ray"
        ) from error


def _check_grpc(target: str) -> None:
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return
    import grpc

    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(ANSWER_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise TimeoutError from error


def _current_cluster() -> str:
    """The address that ``ray start`` has left on this machine, "" without one."""
    try:
        note = Path(_folder_variable()[1], "ray", "ray_current_cluster")
        return note.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _within(seconds: float, address: str | None, options: dict[str, Any]) -> None:
    """Join a cluster. Raises UserError where that takes longer."""
    import ray

    failures: list[Exception] = []
    named: dict[str, Any] = {"address": address} if address else {}

    def join() -> None:
        try:
            ray.init(**options, **named)
        except Exception as error:
            failures.append(error)

    joining = threading.Thread(target=join, daemon=True, name="join-ray")
    joining.start()
    joining.join(seconds)
    if failures:
        raise failures[0]
    if joining.is_alive():
        raise UserError(
            f"{name_address(address)}: something answers there, but no Ray lets this process join "
            f"within {seconds:.0f} seconds; is it a Ray of this version ({ray.__version__}), and "
            "does a node of it run on this machine (else: --address ray://host:10001)?"
        )


# -- a local Ray ----------------------------------------------------------------------------------


def _folder_variable() -> tuple[str, str]:
    """The variable that says where temporary files go, "" without one, and the folder."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if os.environ.get(name):
            return name, os.environ[name].rstrip("/") or "/"
    return "", "/tmp"


def _temporary_folder() -> str | None:
    """Where Ray's files go, None for where it would put them itself.

    Raises UserError for a folder that cannot be written or is full. The path of one that is too
    long for Ray's sockets is replaced by a short one.
    """
    name, folder = _folder_variable()
    said = f"{name}={folder}" if name else f"{folder} (TMPDIR is not set)"
    _check_room(folder, said)
    if len(os.fsencode(folder + SESSION)) <= SOCKET_BYTES:
        return None
    for short in SHORT_FOLDERS:
        with contextlib.suppress(UserError):
            _check_room(short, short)
            return short
    raise UserError(
        f"{said}: the path is too long for the sockets of Ray ({len(os.fsencode(folder))} bytes, "
        f"at most {SOCKET_BYTES - len(SESSION)}), and {', '.join(SHORT_FOLDERS)} cannot be written "
        f"instead; set {name} to a shorter path"
    )


def _check_room(folder: str, said: str) -> None:
    name = _folder_variable()[0] or "TMPDIR"
    mend = f"set {name} to a folder that can be written and has free space"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(TRIAL_BYTES))
            file.flush()
            state = os.fstatvfs(file.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{said}: no space is left there, and Ray needs some; {mend}"
            ) from error
        raise UserError(f"{said}: cannot be written ({error.strerror}); {mend}") from error
    free = state.f_bavail * state.f_frsize
    if free < ROOM_BYTES:
        raise UserError(
            f"{said}: {free >> 20} MiB are free there, and Ray needs {ROOM_BYTES >> 20} MiB for "
            f"its files; {mend}"
        )
