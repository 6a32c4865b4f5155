"""What keeps Ray from starting is reported at once, or worked around."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from scanner.cluster import check_ray, joins_cluster, start_ray
from scanner.cluster.connection import starting
from scanner.cluster.connection.ray_folder import choose_folder
from scanner.errors import UserError


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ray.shutdown()
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    yield
    ray.shutdown()


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_that_refuses_is_named(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = form.format(port)
    with pytest.raises(UserError, match=f"--address {address}: no Ray answers .*refused"):
        check_ray(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"RAY_ADDRESS={address}: no Ray answers"):
        start_ray(None)


def test_a_port_that_accepts_but_never_answers_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=f"{address} .no answer.*ray start --head"):
            check_ray(address, answer_seconds=0.5)


def test_a_cluster_that_is_gone_is_named_for_address_auto(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9\n")
    with pytest.raises(UserError, match=r"--address auto: no Ray answers at 127.0.0.1:9 "):
        check_ray("auto")
    assert not joins_cluster("local")


def test_a_join_that_hangs_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "_check_answers", lambda address, seconds: None)
    monkeypatch.setattr(ray, "init", lambda **options: time.sleep(1))
    with pytest.raises(UserError, match=r"--address host:1: a server answers .* could not join"):
        start_ray("host:1", join_seconds=0.2)


def test_a_full_or_read_only_temporary_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"TMPDIR=.*/file: cannot be written .*set TMPDIR to a"):
        check_ray(None)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(UserError, match=r"RAY_TMPDIR=.*: has .* MiB free.*set RAY_TMPDIR"):
        choose_folder(free_bytes=1 << 60)


def test_a_long_path_without_a_short_alternative_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 20)))
    with pytest.raises(UserError, match=r"TMPDIR=.*longlong.*: the path is too long for Ray's"):
        choose_folder(short_folders=("/proc/none",))


def test_ray_starts_with_a_long_temporary_path_and_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And keeps to the limit of a cgroup, and the process to its own SIGTERM handler."""
    monkeypatch.setattr("scanner.cluster.connection.starting.usable_memory", lambda: 4 << 30)
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 20)))
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")

    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, own)
    try:
        lines = check_ray(None)
        assert [line.partition("=")[0] for line in lines] == ["TMPDIR", "HOME"]
        start_ray(None)
        assert signal.getsignal(signal.SIGTERM) is own
        assert ray.get(ray.remote(lambda: 7).remote()) == 7
        resources = ray.cluster_resources()
        assert resources["memory"] <= 4 << 30
        assert resources["object_store_memory"] <= (4 << 30) // 10
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("left", [None, "x" * 32])
def test_the_token_is_readable_by_its_owner_only(
    left: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    if left:
        token.write_text(left)
        token.chmod(0o644)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setattr(ray, "init", lambda **options: None)
    start_ray(None)
    assert token.stat().st_mode & 0o777 == 0o600
    assert left in (None, token.read_text())
    assert len(token.read_text()) >= 32
    assert os.environ["RAY_AUTH_MODE"] == "token"


JOIN = """
import sys
from ray._raylet import GcsClient
print("joined", GcsClient(address=sys.argv[1]).cluster_id)
"""


def test_nobody_without_the_token_joins_a_local_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the environment turns tokens off."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    start_ray(None)
    address = ray.get_runtime_context().gcs_address
    assert ray.get(ray.remote(lambda: 7).remote()) == 7
    strangers = [
        subprocess.Popen(
            [sys.executable, "-c", JOIN, address],
            env={**os.environ, "RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": "guessed" * 8},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for mode in ("disabled", "token")
    ]
    for stranger in strangers:
        joined, complaint = stranger.communicate(timeout=60)
        assert joined == "", complaint
        assert "InvalidAuthToken" in complaint


def test_sigterm_while_ray_starts_stops_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own handler exits with the signal's number until start_ray restores ours."""

    def terminated(*_: object, **__: object) -> None:
        sys.exit(signal.SIGTERM)

    monkeypatch.setattr(ray, "init", terminated)
    with pytest.raises(KeyboardInterrupt):
        start_ray(None)
