"""The Dockerfile installs what is locked, from files that the build really needs."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from jobs.development.sbom import LOCK, locked

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    copy = tmp_path_factory.mktemp("image") / "Dockerfile"
    copy.write_text((ROOT / "infra/Dockerfile").read_text())
    return DockerfileParser(str(copy)).structure


def _values(steps: list[dict[str, Any]], instruction: str) -> list[str]:
    return [step["value"] for step in steps if step["instruction"] == instruction]


def test_the_image_installs_the_locked_dependencies_only(steps: list[dict[str, Any]]) -> None:
    installs = [value for value in _values(steps, "RUN") if "pip install" in value]
    locked, package = installs
    assert locked == (
        f"pip install --require-hashes --only-binary :all: --requirement {LOCK.relative_to(ROOT)}"
    )
    assert package == "pip install --no-deps --no-build-isolation . && pip check"
    # In the environment that later steps find first.
    run = " ".join(_values(steps, "RUN"))
    (environment,) = re.findall(r"python3 -m venv (\S+)", run)
    assert any(f"PATH={environment}/bin:" in value for value in _values(steps, "ENV"))
    order = [step["value"] for step in steps if step["instruction"] in ("COPY", "RUN")]
    lock = str(LOCK.relative_to(ROOT))
    assert order[-4:] == [f"{lock} {lock}", locked, ". .", package]


def test_the_image_has_every_source_of_the_package() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "LICENSE", project["project"]["readme"]}
    needed |= {*wheel["packages"], *wheel["force-include"], str(LOCK.relative_to(ROOT))}
    assert allowed == needed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_base_is_pinned_and_the_user_is_not_root(steps: list[dict[str, Any]]) -> None:
    (base,) = _values(steps, "FROM")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm", base), "no CUDA: the wheels bring it"
    last_user = _values(steps, "USER")[-1]
    assert int(last_user) >= 1000
    assert f"--uid {last_user}" in " ".join(_values(steps, "RUN"))


def test_the_lock_is_for_the_python_of_the_base(steps: list[dict[str, Any]]) -> None:
    (base,) = _values(steps, "FROM")
    version = base.removeprefix("python:").rsplit(".", 1)[0]
    made_by = LOCK.read_text().splitlines()[1]
    assert f"--python-version {version} " in made_by
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Version(version) in SpecifierSet(project["requires-python"])
    # Debian 12 has glibc 2.36.
    assert "bookworm" in base
    assert "--python-platform x86_64-manylinux_2_36 " in made_by


def test_kernels_can_be_compiled_and_gpus_are_requested(steps: list[dict[str, Any]]) -> None:
    (packages,) = re.findall(r"--no-install-recommends ([\w+ -]+)", " ".join(_values(steps, "RUN")))
    assert "g++" in packages.split()
    env = " ".join(_values(steps, "ENV"))
    assert "NVIDIA_VISIBLE_DEVICES=void" in env
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in env


# The oldest driver of each major version of CUDA, by NVIDIA's release notes.
DRIVERS = {"12": "525", "13": "580"}


def test_the_stated_driver_is_that_of_the_locked_cuda() -> None:
    version, _ = locked(LOCK.read_text())["nvidia-cuda-runtime"]
    major = version.partition(".")[0]
    for name in ("infra/Dockerfile", "infra/README.md"):
        stated = re.findall(r"[Dd]river[ ,]+(?:version )?(\d{3}) or newer", _words(ROOT / name))
        stated += re.findall(r"CUDA 13 needs version (\d{3}) or newer", _words(ROOT / name))
        assert set(stated) == {DRIVERS[major]}, name
        assert f"CUDA {major}" in _words(ROOT / name)


def _words(path: Path) -> str:
    return " ".join(path.read_text().replace("\n#", "\n").split())


def test_the_image_sets_what_scanner_sets_for_ray(
    steps: list[dict[str, Any]],
) -> None:
    source = (ROOT / "scanner/cluster/__init__.py").read_text()
    settings = re.findall(r'os\.environ\.setdefault\("(RAY_\w+)", "(\d)"\)', source)
    assert len(settings) == 2
    env = " ".join(_values(steps, "ENV"))
    assert all(f"{name}={value}" in env for name, value in settings)
