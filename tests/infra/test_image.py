"""The Dockerfile installs as the README does, from files that the build really needs."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    copy = tmp_path_factory.mktemp("image") / "Dockerfile"
    copy.write_text((ROOT / "infra/Dockerfile").read_text())
    return DockerfileParser(str(copy)).structure


def _values(steps: list[dict[str, Any]], instruction: str) -> list[str]:
    return [step["value"] for step in steps if step["instruction"] == instruction]


def test_the_image_installs_exactly_as_the_readme_says(steps: list[dict[str, Any]]) -> None:
    text = (ROOT / "README.md").read_text()
    (readme,) = re.findall(r"^    (pip install .*) && memscan demo$", text, re.MULTILINE)
    assert [value for value in _values(steps, "RUN") if "pip install" in value] == [readme]
    # In the environment that later steps find first.
    run = " ".join(_values(steps, "RUN"))
    (environment,) = re.findall(r"python3 -m venv (\S+)", run)
    assert any(f"PATH={environment}/bin:" in value for value in _values(steps, "ENV"))
    installs = steps.index(next(step for step in steps if step["value"] == readme))
    copies = [place for place, step in enumerate(steps) if step["instruction"] == "COPY"]
    assert copies
    assert max(copies) < installs


def test_the_image_has_every_source_of_the_package() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "LICENSE", project["project"]["readme"]}
    needed |= {*wheel["packages"], *wheel["force-include"]}
    assert allowed == needed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_base_is_pinned_and_the_user_is_not_root(steps: list[dict[str, Any]]) -> None:
    (base,) = _values(steps, "FROM")
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-runtime-ubuntu\d\d\.04", base)
    last_user = _values(steps, "USER")[-1]
    assert int(last_user) >= 1000
    assert f"--uid {last_user}" in " ".join(_values(steps, "RUN"))


def test_the_image_sets_what_scanner_sets_for_ray(
    steps: list[dict[str, Any]],
) -> None:
    source = (ROOT / "scanner/cluster/__init__.py").read_text()
    settings = re.findall(r'os\.environ\.setdefault\("(RAY_\w+)", "(\d)"\)', source)
    assert len(settings) == 2
    env = " ".join(_values(steps, "ENV"))
    assert all(f"{name}={value}" in env for name, value in settings)
