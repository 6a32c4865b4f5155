"""The recipes for two machines and for Compose, command by command, on two nodes that are network
namespaces of this machine: pytest -n 0 -m faults tests/infra."""

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.namespaces import Shell, two_nodes
from tests.whole_scans import assert_nothing_lost, scores

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "infra/two-machines/README.md").read_text()
(STEPS,) = re.findall(r"^## Two machines$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
BLOCKS = [re.sub("^ +", "", one, flags=re.M) for one in re.findall("```\n(.*?)```", STEPS, re.S)]
OPTIONS = "--model testbed --device cpu --cpus-per-actor 1 --slice-captions 32"
# What a firewall between the machines lets through: answers, and the ports that the page names.
FIREWALL = (
    "nft 'add table inet f; "
    "add chain inet f in {{ type filter hook input priority 0; policy drop; }}; "
    "add rule inet f in iif lo accept; add rule inet f in ct state established,related accept; "
    "add rule inet f in tcp dport {{ {ports} }} accept'"
)
pytestmark = pytest.mark.faults


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[dict[str, str], list[Shell]]]:
    """Two machines with homes of their own; what 10.0.0.1 and 10.0.0.2 are here, and their
    shells."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "memscan").write_text(f'#!/bin/sh\nexec {sys.executable} -m jobs.cli "$@"\n')
    (programs / "memscan").chmod(0o755)
    with two_nodes() as nodes:
        shells, folders = [], []
        for enter in nodes.values():
            folders.append(tempfile.mkdtemp(prefix="m", dir="/tmp"))  # a short path, for sockets
            home = tempfile.mkdtemp(dir=tmp_path)
            shell = Shell(enter, HOME=home, RAY_TMPDIR=folders[-1], PYTHONPATH=str(ROOT))
            shell.run(f"export PATH={programs}:{Path(sys.executable).parent}:$PATH")
            shells.append(shell)
        yield dict(zip(("10.0.0.1", "10.0.0.2"), nodes, strict=True)), shells
        for shell, folder in zip(shells, folders, strict=True):
            shell.close()
            shutil.rmtree(folder, ignore_errors=True)


def _here(command: str, addresses: dict[str, str]) -> str:
    """A command of the page, with one core per machine and the addresses of these."""
    for stated, address in addresses.items():
        command = command.replace(stated, address)
    return re.sub("^ray start", "ray start --num-cpus 1", command, flags=re.MULTILINE)


def test_the_page_s_commands_scan_on_both_machines(
    machines: tuple[dict[str, str], list[Shell]], data: Path, undisturbed: str, tmp_path: Path
) -> None:
    addresses, (first, second) = machines
    exports, start, join, scan, stop = (_here(block, addresses) for block in BLOCKS)
    ports = re.findall(r"TCP to ports (\d+) to (\d+) and (\d+) to (\d+) ", PAGE)[0]
    if shutil.which("nft"):
        rule = FIREWALL.format(ports="{}-{}, {}-{}".format(*ports))
        for shell in (first, second):
            shell.run(rule)
    for shell in (first, second):
        shell.run(exports)
    first.run(start)
    token = first.run('stat -c %a "$RAY_AUTH_TOKEN_PATH"; cat "$RAY_AUTH_TOKEN_PATH"').split()
    assert (token[0], len(token[1])) == ("600", 64)
    # scp's part.
    second.run(f'umask 077; echo -n {token[1]} > "$RAY_AUTH_TOKEN_PATH"')
    second.run(join)
    job = tmp_path / "job.toml"
    run = tmp_path / "run"
    job.write_text(f"captions = ['{data}']\nout = '{run}'\n")
    said = first.run(f"{scan.strip().replace('infra/jobs/laion.toml', str(job))} {OPTIONS} 2>&1")
    assert "2 actors" in said
    assert_nothing_lost(str(run), scores(undisturbed))
    for shell in (first, second):
        shell.run(stop)


def test_a_machine_without_the_token_cannot_join(
    machines: tuple[dict[str, str], list[Shell]],
) -> None:
    addresses, (first, second) = machines
    exports, start, join, *_ = (_here(block, addresses) for block in BLOCKS)
    first.run(exports)
    first.run(start)
    second.run(exports)
    second.run(f'umask 077; echo -n {"0" * 64} > "$RAY_AUTH_TOKEN_PATH"')
    joined = second.run(f"{join.strip()} 2>&1 || echo refused")
    assert joined.rstrip().endswith("refused")
    assert re.search("[Aa]uth", joined), joined


def test_the_compose_services_scan_together(
    machines: tuple[dict[str, str], list[Shell]], data: Path, undisturbed: str, tmp_path: Path
) -> None:
    """Their own commands, as the containers would run them."""
    addresses, (driver, worker) = machines
    compose: dict[str, Any] = yaml.safe_load((ROOT / "infra/compose.yaml").read_text())
    services = compose["services"]
    token, job, run = tmp_path / "token", tmp_path / "job.toml", tmp_path / "run"
    token.write_text("t" * 64)
    job.write_text(f"captions = ['{data}']\nout = '{run}'\n")
    first, second = addresses.values()
    environment = services["driver"]["environment"] | {"RAY_AUTH_TOKEN_PATH": str(token)}
    for shell in (driver, worker):
        for name, value in environment.items():
            shell.run(f"export {name}={value}")
    (start, scan) = services["driver"]["command"][-1].split("&& exec ")
    driver.run(f"{start} --node-ip-address {first}")
    driver.run(
        shlex.join(services["driver"]["healthcheck"]["test"][1:]).replace("localhost", first)
    )
    join = shlex.join(services["worker"]["command"]).replace("driver", first)
    worker.run(f"{join} --num-cpus 2 --node-ip-address {second} > {tmp_path / 'worker'} 2>&1 &")
    said = driver.run(f"{scan.replace('/etc/memscan/job.toml', str(job))} {OPTIONS} 2>&1")
    assert re.search("[12] actors?", said)
    assert_nothing_lost(str(run), scores(undisturbed))
