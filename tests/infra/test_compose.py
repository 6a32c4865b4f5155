"""The Compose file is valid, and its services fit one another, the image and the command line."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec.models import ComposeSpecification, Service

from tests.commands import parsed

FILE = Path(__file__).parents[2] / "infra/compose.yaml"
SLURM = FILE.parent / "slurm/scan.sbatch"


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


def _check(compose: dict[str, Any]) -> None:
    """The package's models check the values, but ignore fields that they do not know."""
    given = {name: value for name, value in compose.items() if not name.startswith("x-")}
    ComposeSpecification.model_validate(given)
    known = {field.alias or name for name, field in Service.model_fields.items()}
    for service in compose["services"].values():
        unknown = service.keys() - known
        assert not unknown, f"unknown: {unknown}"


def test_it_is_valid_compose(compose: dict[str, Any]) -> None:
    _check(compose)


@pytest.mark.parametrize(
    "change", [{"init": [1]}, {"shm_sizes": "2gb"}, {"depends_on": {"driver": {"condition": "up"}}}]
)
def test_a_mistake_in_it_is_found(change: dict[str, Any], compose: dict[str, Any]) -> None:
    compose["services"]["worker"].update(change)
    with pytest.raises((ValueError, AssertionError), match=next(iter(change))):
        _check(compose)


def test_services_share_image_token_and_volumes(compose: dict[str, Any]) -> None:
    driver, worker = (compose["services"][name] for name in ("driver", "worker"))
    for field in ("image", "secrets", "environment", "env_file", "volumes", "networks"):
        assert driver[field] == worker[field]
    environment = driver["environment"]
    assert environment["RAY_AUTH_MODE"] == "token"
    (secret,) = driver["secrets"]
    assert environment["RAY_AUTH_TOKEN_PATH"] == f"/run/secrets/{secret}"
    assert set(compose["secrets"][secret]) == {"file"}, "outside of the image and of this file"


def test_nothing_is_published_and_nothing_is_privileged(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert not {"ports", "privileged", "network_mode", "pid", "ipc"} & service.keys()
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp:exec"], "torch.compile loads what it writes there"
        written = [one.rpartition(":")[0] for one in service["volumes"]]
        assert written == ["home", "${MEMSCAN_DATA:-./data}"]


def test_only_the_worker_has_gpus_and_joins_the_driver(compose: dict[str, Any]) -> None:
    driver, worker = (compose["services"][name] for name in ("driver", "worker"))
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "deploy" not in driver
    start = driver["command"][-1].partition("&&")[0].split()
    assert start[start.index("--num-cpus") + 1] == "0", "actors are on the worker"
    port = start[start.index("--port") + 1]
    assert worker["command"][:4] == ["ray", "start", "--address", f"driver:{port}"]
    assert worker["depends_on"] == {"driver": {"condition": "service_healthy"}}


def test_both_services_serve_metrics_at_the_page_s_port(compose: dict[str, Any]) -> None:
    driver, worker = (compose["services"][name] for name in ("driver", "worker"))
    start = driver["command"][-1].partition("&&")[0].split()
    for words in (start, worker["command"]):
        assert words[words.index("--metrics-export-port") + 1] == "8080"
    page = (FILE.parent / "two-machines/README.md").read_text()
    assert re.search(r"metrics\]\S+ there at port 8080", page)
    (network,) = driver["networks"]
    assert f"docker network connect {compose['name']}_{network} " in page


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Using extra keyword arguments")  # in Ray Serve
def test_ray_knows_the_options_that_start_it(compose: dict[str, Any]) -> None:
    from ray.scripts.scripts import start as ray_start

    known = {name for option in ray_start.params for name in option.opts}
    driver, worker = (compose["services"][name] for name in ("driver", "worker"))
    batch = SLURM.read_text().partition("ray symmetric-run")[2].partition("-- bash")[0]
    for words in (
        driver["command"][-1].partition("&&")[0].split(),
        worker["command"],
        batch.split(),
    ):
        given = {word for word in words if word.startswith("--")}
        assert given - {"--address", "--min-nodes"} <= known
        assert "--metrics-export-port" in given


def test_the_driver_runs_a_scan_on_this_ray(compose: dict[str, Any], tmp_path: Path) -> None:
    driver = compose["services"]["driver"]
    _, scan = driver["command"][-1].split("&& exec ")
    (config,) = driver["configs"]
    job = tmp_path / "job.toml"
    job.write_text('captions = ["/data/captions.csv"]\nout = "/data/run"\n')
    assert config["target"] in shlex.split(scan)
    options = parsed(scan.replace(config["target"], str(job)))
    assert (options.address, options.device) == ("auto", "cuda")
