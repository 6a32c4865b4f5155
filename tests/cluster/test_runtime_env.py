"""A shared cluster that lacks what actors need gets it from --runtime-env."""

import importlib
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import RayError

from scanner.cluster import ActorOptions, Result, execute
from scanner.cluster.connection.placement import choose_resources
from scanner.cluster.connection.runtime_env import read_runtime_env
from scanner.cluster.failures import brief
from scanner.credentials import without_secrets
from scanner.errors import UsageError
from scanner.run import Output, Run, Slice
from scanner.storage import Store
from tests.cluster.events import refuse_failures
from tests.memscan import called

CANARY = "c4n4ry-of-the-cluster"
ITEMS = [Slice("000000", "", "", "", 1)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    ray.shutdown()
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def address(cluster: str) -> Iterator[str]:
    """That of a cluster that this process has not joined yet."""
    yield cluster
    ray.shutdown()


@pytest.fixture
def given(tmp_path: Path) -> str:
    """A file that brings a module, a setting and a secret, none of which the cluster has."""
    (tmp_path / "brought.py").write_text("ANSWER = 'brought along'\n")
    file = tmp_path / "runtime-env.yaml"
    file.write_text(
        f"py_modules: [{tmp_path / 'brought.py'}]\n"
        f"env_vars:\n  MEMSCAN_PLACE: 'here'\n  STORE_PASSWORD: {CANARY}\n"
    )
    return str(file)


@dataclass(frozen=True)
class Lacking:
    """Work that needs a module and a variable."""

    def __call__(self) -> "Lacking":
        return self

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        return item

    def finish(self, item: Slice) -> Result:
        module = importlib.import_module("brought")
        values = {"module": [module.ANSWER], "place": [os.environ["MEMSCAN_PLACE"]]}
        return Result([Output("scores", pa.table(values))])


def test_actors_get_the_modules_and_the_variables(address: str, given: str, tmp_path: Path) -> None:
    options = ActorOptions(actors=1, cpus_per_actor=1, address=address, runtime_env=given)
    options.check_actors()
    _, resources = choose_resources(options, "cpu")
    run = Run(Store(str(tmp_path / "run")))
    execute(
        run.commits,
        ITEMS,
        partial(Lacking),
        resources,
        address=address,
        on_event=refuse_failures,
    )
    (commit,) = run.commits.all()
    (part,) = commit.parts
    (row,) = pq.read_table(tmp_path / "run" / part.path).to_pylist()
    assert row == {"module": "brought along", "place": "here"}
    assert "MEMSCAN_PLACE" not in os.environ
    with pytest.raises(ImportError):
        importlib.import_module("brought")


def test_a_scan_stores_nothing_of_its_runtime_env(address: str, given: str, tmp_path: Path) -> None:
    """So that it resumes with another one."""
    captions = tmp_path / "captions.csv"
    captions.write_text("caption\n" + "".join(f"a red cat {n}\n" for n in range(6)))
    words = ["--captions", str(captions), "--out", str(tmp_path / "run"), "--model", "testbed"]
    words += ["--device", "cpu", "--actors", "1", "--cpus-per-actor", "1", "--seeds", "1"]
    words += ["--address", address]
    done = called("scan", *words, "--runtime-env", given)
    assert "6 captions scored" in done.stdout
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    for secret in (CANARY, "STORE_PASSWORD", "MEMSCAN_PLACE"):
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
    assert CANARY not in done.stdout + done.stderr
    assert "6 captions scored" in called("scan", *words, "--runtime-env", "{}").stdout


def test_secrets_of_its_variables_are_hidden_in_messages() -> None:
    read_runtime_env(f'{{"env_vars": {{"HF_TOKEN": "{CANARY}-2", "OMP_NUM_THREADS": "16"}}}}')
    assert without_secrets(f"401 for {CANARY}-2 with 16") == "401 for *** with 16"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pips: [torch]", "unknown field pips; a runtime environment has .*pip"),
        ("env_vars: {THREADS: 1}", "env_vars: THREADS must be a string, got int; put .* quotes"),
        ("env_vars: [A]", "env_vars must map"),
        ("- pip", "must be an object with fields such as pip"),
        ("pip: [a\nuv: b", "is not YAML at line 2"),
        ("{pip: [a], uv: [b]}", "cannot be specified at the same time"),
        ("working_dir: /none/there", "/none/there"),
    ],
)
def test_a_wrong_file_is_named_with_the_remedy(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "env.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said) as refusal:
        read_runtime_env(str(file))
    assert str(refusal.value).startswith(f"--runtime-env {file}: ")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("none.yaml", "none.yaml: cannot be read .No such file"),
        (f'{{"env_vars": {{"HF_TOKEN": "{CANARY}}}', "is not JSON"),
        ("/dev/zero", "over 1 MiB"),
    ],
)
def test_what_cannot_be_read_is_refused_without_its_text(given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refusal:
        read_runtime_env(given)
    assert CANARY not in str(refusal.value)


def test_without_a_cluster_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UsageError, match="neither is set; a local Ray uses this environment"):
        ActorOptions(runtime_env="{}").check_actors()


def test_a_cluster_without_memscan_says_what_brings_it() -> None:
    died = RayError("The actor died.\nModuleNotFoundError: No module named 'scanner.run'")
    assert "bring it with --runtime-env" in brief(died)
    assert "--runtime-env" not in brief(RayError("No module named 'scanners'"))


def test_the_example_is_valid_and_brings_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    brought = read_runtime_env("infra/runtime-env.yaml")
    assert brought["py_modules"] == ["scanner"]
    required = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[\[<>=;]", one)[0] for one in required}
    assert set(brought["pip"]) <= names
