"""The version is stated in pyproject.toml; whatever else names it agrees."""

import re
import tomllib
from pathlib import Path

import pytest

import scanner

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_installed_version_is_that_of_pyproject() -> None:
    assert scanner.__version__ == VERSION, "install again: pip install -e '.[test]'"


def test_changelog_begins_with_the_dated_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## (\S+) – (\d{4}-\d\d-\d\d)$", text, re.MULTILINE)
    assert len(releases) == len(re.findall(r"^## ", text, re.MULTILINE))
    assert releases[0][0] == VERSION
    assert sorted(releases, key=lambda one: one[1], reverse=True) == releases


def test_changelog_lists_breaking_changes_apart() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = text.partition("\n## ")[2].partition("\n## ")[0]
    assert newest.index("### Breaking changes\n\n- ") < newest.index("### Added\n\n- ")


@pytest.mark.parametrize(
    "file", ["README.md", "Dockerfile", "compose.yaml", "kubernetes/rayjob.yaml"]
)
def test_recipes_name_the_image_of_the_version(file: str) -> None:
    text = (ROOT / "infra" / file).read_text(encoding="utf-8")
    tags = re.findall(r"/memscan:([\w.]+)", text)
    assert tags
    assert set(tags) == {VERSION}
