"""The hooks before a commit are the tools that the tests run, at pyproject's versions."""

from pathlib import Path

import yaml

from tests.test_quality import COMMANDS

HOOKS = Path(__file__).parents[1] / ".pre-commit-config.yaml"


def test_hooks_run_the_tools_of_the_test_extra() -> None:
    (repository,) = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local", "versions come from pyproject.toml"
    entries = {hook["entry"].removesuffix(" --fix") for hook in repository["hooks"]}
    linters = {("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)}
    assert linters <= set(COMMANDS)
    assert entries == {f"python -m {' '.join(words)}".removesuffix(" --check") for words in linters}
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
