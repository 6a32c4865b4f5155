"""The bucket policy is enough for a scan and has no right too many, on a server that enforces it."""

import copy
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from jobs.scan import main
from scanner.storage import Store, expand, open_input
from tests.whole_scans import scores

S3 = Path(__file__).parents[2] / "infra/s3"
POLICY = json.loads((S3 / "bucket-policy.json").read_text())
BIG, PART = 11 << 20, 5 << 20


@dataclass
class Account:
    """A server with a bucket, its owner's client, and how to let the scanner's user in."""

    s3: Any
    allow: Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a moto process that begins to enforce policies once it is told to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()
