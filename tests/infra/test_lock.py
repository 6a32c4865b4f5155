"""The lock file holds every dependency of the package with hashes, and the SBOM lists them."""

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jobs.development import sbom
from jobs.development.sbom import LOCK, bill_of_materials, locked

ROOT = Path(__file__).parents[2]
IMAGE = {"platform_system": "Linux", "sys_platform": "linux", "platform_machine": "x86_64"}


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_dependency_is_locked_at_a_version_it_allows(settings: dict[str, Any]) -> None:
    packages = locked(LOCK.read_text())
    build = settings["build-system"]["requires"]
    extras = settings["project"]["optional-dependencies"]
    stores = (*extras["azure"], *extras["gcs"])
    for line in (*settings["project"]["dependencies"], *stores, *build):
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate(IMAGE):
            continue
        version, hashes = packages[canonicalize_name(wanted.name)]
        assert version in wanted.specifier, line
        assert hashes
    given = (ROOT / "infra/build.in").read_text().splitlines()
    assert [line for line in given if not line.startswith("#")] == build


def test_the_lock_has_no_addresses_and_no_cpu_build_of_torch() -> None:
    text = LOCK.read_text()
    assert "://" not in text
    assert "--index-url" not in text
    packages = locked(text)
    assert "+" not in packages["torch"][0]
    assert {"triton", "nvidia-cudnn-cu13", "nvidia-cublas"} <= set(packages)


def test_the_job_s_ray_is_the_locked_one() -> None:
    job = (ROOT / "infra/kubernetes/rayjob.yaml").read_text()
    assert f"rayVersion: {locked(LOCK.read_text())['ray'][0]}\n" in job


@pytest.mark.parametrize(
    "line", ["numpy==2.0", "numpy>=2.0 --hash=sha256:" + "0" * 64, "-e .", "numpy @ file:///x"]
)
def test_a_line_without_version_and_hash_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a version with hashes"):
        locked(f"# made by\n{line}\n")


def test_the_bill_lists_every_locked_package(settings: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    assert sbom.main(["--out", str(out)]) == 0
    bill = json.loads(out.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    packages = locked(LOCK.read_text())
    assert {one["name"]: one["version"] for one in bill["components"]} == {
        name: version for name, (version, _) in packages.items()
    }
    for one in bill["components"]:
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}"
        (files,) = one["externalReferences"]
        assert [each["content"] for each in files["hashes"]] == packages[one["name"]][1]


def test_the_bill_depends_on_the_lock_and_the_version_only(settings: dict[str, Any]) -> None:
    lock, project = LOCK.read_text(), settings["project"]
    first = bill_of_materials(lock, project)
    assert bill_of_materials(lock, project) == first
    other = copy.deepcopy(project) | {"version": "9.9"}
    assert bill_of_materials(lock, other)["serialNumber"] != first["serialNumber"]
