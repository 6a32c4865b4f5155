"""Nodes of a network in one machine: network namespaces, joined by one bridge's worth of wires."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest


def why_not() -> str:
    """Return why this machine cannot have such nodes, "" if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "no ip: install Debian's package iproute2"
    probe = f"probe{os.getpid()}"
    for action in ("add", "delete"):
        words = ["ip", "netns", action, probe]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"no network namespaces here: {done.stderr.strip()}"
    return ""


@contextmanager
def two_nodes() -> Iterator[dict[str, str]]:
    """Two nodes that reach each other and nothing else: what to run commands on each with, by its
    address. Skips the test where there can be none."""
    if reason := why_not():
        pytest.skip(reason)
    names = [f"memscan{os.getpid()}{letter}" for letter in "ab"]
    addresses = ["10.213.77.1", "10.213.77.2"]
    for name in names:
        _ip("netns", "add", name)
    try:
        ends = [f"wire{os.getpid()}{letter}"[-15:] for letter in "ab"]
        first, second = ([end, "netns", name] for end, name in zip(ends, names, strict=True))
        _ip("link", "add", *first, "type", "veth", "peer", "name", *second)
        for name, end, address in zip(names, ends, addresses, strict=True):
            within = ["ip", "-netns", name]
            _run([*within, "address", "add", f"{address}/24", "dev", end])
            _run([*within, "link", "set", end, "up"])
            _run([*within, "link", "set", "lo", "up"])
        yield {
            address: f"ip netns exec {name}" for name, address in zip(names, addresses, strict=True)
        }
    finally:
        for name in names:
            _end_all(name)
            _ip("netns", "delete", name)


def _end_all(name: str) -> None:
    """End what still runs on a node."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    for pid in found.stdout.split():
        subprocess.run(["kill", "-9", pid], capture_output=True)


def _ip(*words: str) -> None:
    _run(["ip", *words])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class Shell:
    """A shell on a node, which sees no process of others, so that ``ray stop`` ends only its own.

    ``enter``: as of :func:`two_nodes`.
    """

    def __init__(self, enter: str, **variables: str) -> None:
        isolated = "unshare --pid --fork --kill-child --mount-proc bash"
        self._process = subprocess.Popen(
            [*enter.split(), *isolated.split()],
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        """Run a command, which has to end well; returns what it prints."""
        assert self._process.stdin
        assert self._process.stdout
        mark = "the command has ended with"
        # What a command starts in the background keeps the pipe, so its end says nothing.
        self._process.stdin.write(f"{command}\necho {mark} $?\n")
        self._process.stdin.flush()
        lines = []
        for line in self._process.stdout:
            before, found, status = line.partition(mark)
            lines.append(before)
            if found:
                assert int(status) == 0, f"{command}: {''.join(lines)}"
                return "".join(lines)
        raise AssertionError(f"the shell has ended: {command}: {''.join(lines)}")

    def close(self) -> None:
        """End the shell and all that it has started."""
        self._process.kill()
        self._process.wait()
