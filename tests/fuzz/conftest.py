"""The two lanes: a few fixed examples in every run, many random ones by hand."""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.internal.conjecture import providers
from hypothesis.strategies import SearchStrategy

SHORT = 10
LONG = int(os.environ.get("FUZZ_EXAMPLES", "2000"))
# Far above what an example takes on a busy machine: only what does not end is over it.
DEADLINE = timedelta(seconds=30)


class Explore(Protocol):
    """Call a property with generated arguments, and with the examples that it once failed on."""

    def __call__(
        self,
        check: Callable[..., None],
        examples: Sequence[dict[str, Any]] = (),
        /,
        **strategies: SearchStrategy,
    ) -> None: ...


@pytest.fixture(params=["short", pytest.param("long", marks=pytest.mark.fuzz)])
def explore(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Explore:
    is_short = request.param == "short"
    set_hypothesis_home_dir(tmp_path_factory.getbasetemp())
    # Else constants in the source of whatever is imported by then decide the examples.
    monkeypatch.setattr(providers, "_get_local_constants", lambda: providers.GLOBAL_CONSTANTS)
    chosen = settings(
        max_examples=SHORT if is_short else LONG,
        derandomize=is_short,
        database=None,
        deadline=DEADLINE,
        print_blob=not is_short,
        suppress_health_check=list(HealthCheck),
    )

    def run(
        check: Callable[..., None],
        examples: Sequence[dict[str, Any]] = (),
        /,
        **strategies: SearchStrategy,
    ) -> None:
        test = given(**strategies)(check)
        for one in examples:
            test = example(**one)(test)
        chosen(test)()

    return run


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str, bytes], str]:
    """Write a file of a name, each time anew, and return its path."""

    def write(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write
