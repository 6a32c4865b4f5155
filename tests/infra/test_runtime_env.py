"""infra/runtime-env.yaml brings what actors import, on a cluster that has only Ray and PyTorch."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Of every Ray and PyTorch, whatever extras were installed.
PRESENT = ("ray", "torch")
METHODS = {"prepare", "compute", "finish"}


def path_of(module: str) -> Path | None:
    """The file of a module of the package; None for names that are no modules."""
    folder = ROOT.joinpath(*module.split("."))
    paths = (folder / "__init__.py", folder.with_suffix(".py"))
    return next((path for path in paths if path.exists()), None)


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run on import."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.If | ast.Try):
            waiting += [*node.body, *node.orelse]


@cache
def imports_of(module: str) -> frozenset[str]:
    """Names that a module imports when it is imported."""
    path = path_of(module)
    assert path is not None, module
    names: set[str] = set()
    for node in top_level(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def closure(modules: set[str]) -> dict[str, str]:
    """Packages that importing modules imports, each with a module that does."""
    packages: dict[str, str] = {}
    waiting, seen = sorted(modules), set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        waiting += [module.rpartition(".")[0]] if "." in module else []
        for name in imports_of(module):
            if not name.startswith("scanner"):
                packages.setdefault(name.split(".")[0], module)
            elif path_of(name):
                waiting.append(name)
    return {name: by for name, by in packages.items() if name not in sys.stdlib_module_names}


def required(names: set[str]) -> set[str]:
    """Distributions, with all that they require without extras."""
    done: set[str] = set()
    waiting = sorted(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in done:
            done.add(name)
            wanted = [Requirement(line) for line in requires(name) or ()]
            waiting += [
                one.name for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})
            ]
    return done


def modules_of_actors() -> set[str]:
    """Modules of work that runs on the pool, and the actor itself."""
    modules = {"scanner.cluster.actor"}
    for path in (ROOT / "scanner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
                if methods >= METHODS and "Protocol" not in map(ast.unparse, node.bases):
                    modules.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return modules


@pytest.mark.slow
def test_it_brings_every_package_that_actors_import() -> None:
    modules = modules_of_actors()
    assert {"scanner.scan.work", "scanner.scan.plan.reading"} <= modules
    brought = yaml.safe_load((ROOT / "infra/runtime-env.yaml").read_text())["pip"]
    available = required({*PRESENT, *brought})
    distributions = packages_distributions()
    for package, module in closure(modules).items():
        names = {canonicalize_name(name) for name in distributions[package]}
        assert names & available, f"{module} imports {package}, which runtime-env.yaml lacks"
