"""Start a local Ray, or join a cluster; report what would fail or hang before Ray is called."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scanner.cluster.connection.address import (
    is_connected,
    joins_cluster,
    name_address,
    resolve_address,
)
from scanner.cluster.connection.ray_folder import choose_folder, folder_variable
from scanner.cluster.connection.ray_token import can_keep_token, require_token
from scanner.cluster.connection.resources import Resources, nodes
from scanner.cores import usable_cores
from scanner.errors import UserError
from scanner.memory import usable_memory

ANSWER_SECONDS = 8.0
JOIN_SECONDS = 30.0
# Files are uploaded as a cluster is joined; for ray:// it also installs packages then.
RUNTIME_ENV_SECONDS = 900.0
OBJECT_STORE_BYTES = 1 << 30
OBJECT_STORE_MINIMUM = 80 << 20  # Ray refuses less than 75 MiB
CLIENT, CLIENT_PORT = "ray://", 10001


def check_ray(address: str | None, answer_seconds: float = ANSWER_SECONDS) -> list[str]:
    """Return what will be worked around to start a local Ray, one line each.

    Raises UserError, within seconds, for a cluster that does not answer, or where a local Ray
    cannot start.
    """
    if is_connected():
        return []
    if joins_cluster(address):
        _check_answers(address, answer_seconds)
        return []
    lines = []
    if short := choose_folder():
        name, folder = folder_variable()
        lines.append(
            f"{name}={folder}: the path is too long for Ray's sockets; using {short}/ray instead"
        )
    if not can_keep_token():
        lines.append(
            f"HOME={os.environ.get('HOME', '')}: not writable; keeping Ray's token in memory"
        )
    return lines


def start_ray(
    address: str | None,
    join_seconds: float = JOIN_SECONDS,
    runtime_env: dict[str, Any] | None = None,
) -> None:
    """Join a cluster, or start a local Ray if no address is given.

    ``runtime_env``: of all actors that this process starts on the cluster; Ray takes it only when
    it is joined. Raises UserError that names the address, or the environment variable and its
    value.
    """
    if is_connected():
        return
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if joins_cluster(address):
        _check_answers(address, ANSWER_SECONDS)
        if runtime_env:
            options["runtime_env"] = runtime_env
            join_seconds = max(join_seconds, RUNTIME_ENV_SECONDS)
        _init(address, lambda: _join(address, join_seconds, options))
        return
    options |= {"address": "local", "include_dashboard": False, **_usable_resources()}
    folder = choose_folder()
    if folder:
        options["_temp_dir"] = f"{folder}/ray"
    require_token()
    _init(address, lambda: ray.init(**options))


def _usable_resources() -> dict[str, Any]:
    """Return what a local Ray may use. Ray itself knows no cgroup above its own, as in a Slurm job.

    The object store holds only items and commits, which are small.
    """
    memory = usable_memory()
    store = max(OBJECT_STORE_MINIMUM, min(OBJECT_STORE_BYTES, memory // 10))
    return {"num_cpus": usable_cores(), "_memory": memory, "object_store_memory": store}


def start_for(resources: Resources, address: str | None) -> None:
    """Start or join a Ray as :func:`start_ray` does, for actors that take these resources.

    Raises UserError if a local Ray has no room for any, since no node will join it.
    """
    start_ray(address)
    if joins_cluster(address) or resources.fit():
        return
    cpus, gpus = (max(node.get(name, 0.0) for node in nodes()) for name in ("CPU", "GPU"))
    raise UserError(
        f"an actor takes {resources.cpus:g} CPUs and {resources.gpus:g} GPUs, but this machine has "
        f"{cpus:g} and {gpus:g}; lower --cpus-per-actor or --gpus-per-actor"
    )


def _init(address: str | None, init: Callable[[], Any]) -> None:
    try:
        with _keep_signals():
            init()
    except UserError:
        raise
    except SystemExit as error:  # Ray's handler of SIGTERM, while it starts
        if error.code == signal.SIGTERM:
            raise KeyboardInterrupt from error
        raise
    except Exception as error:  # Ray raises OSError, ValueError, RuntimeError, its own and gRPC's
        if joins_cluster(address):
            raise UserError(
                f"{name_address(address)}: cannot connect to Ray: {error} (if the cluster uses "
                "tokens, as one that ray start starts where ~/.ray/auth_token exists, set "
                "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to another token)"
            ) from error
        raise UserError(
            f"a local Ray cannot start: {type(error).__name__}: {error} (its files are "
            f"stored in {folder_variable()[1]}/ray; set TMPDIR to another short path with space)"
        ) from error


@contextlib.contextmanager
def _keep_signals() -> Iterator[None]:
    """Restore the process's SIGTERM handler, which Ray replaces by one that exits at once."""
    own = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(own) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, own)


def _check_answers(address: str | None, seconds: float) -> None:
    """Raise UserError if nothing that speaks gRPC, as every Ray does, answers at an address."""
    resolved = resolve_address(address)
    target = _current_cluster() if resolved == "auto" else resolved
    server, is_client = target.removeprefix(CLIENT), target.startswith(CLIENT)
    host, colon, port = server.partition("?")[0].rpartition(":")
    if not colon and is_client:
        host, port = port, str(CLIENT_PORT)
    if not host or "://" in server or not port.isdigit():
        return  # Ray's own error says what is wrong with such an address
    try:
        socket.create_connection((host.strip("[]"), int(port)), seconds).close()
        _check_grpc(f"{host}:{port}", seconds)
    except OSError as error:
        why = error.strerror or "no answer"
        raise UserError(
            f"{name_address(address)}: no Ray answers at {host}:{port} ({why}); start one there "
            "(ray start --head), name another, or leave out --address and RAY_ADDRESS to start a "
            "local Ray"
        ) from error


def _check_grpc(target: str, seconds: float) -> None:
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return
    import grpc

    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(seconds)
        except grpc.FutureTimeoutError as error:
            raise TimeoutError from error


def _current_cluster() -> str:
    """Return the address that ``ray start`` left on this machine, "" if there is none."""
    try:
        note = Path(folder_variable()[1], "ray", "ray_current_cluster")
        return note.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _join(address: str | None, seconds: float, options: dict[str, Any]) -> None:
    """Join a cluster. Raises UserError if that takes longer than ``seconds``."""
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
            f"{name_address(address)}: a server answers there, but this process could not join "
            f"within {seconds:.0f} seconds; check that it is a Ray of this version "
            f"({ray.__version__}) with a node on this machine (else use --address "
            "ray://host:10001)"
        )
