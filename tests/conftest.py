"""Small models of the real classes, a real S3 server process, data sets of a few rows."""

import gc
import os
import shutil
import signal
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from tests.cloud_servers import (
    azure_server,
    gcs_server,
    make_container,
    point_to_azure,
    point_to_gcs,
)
from tests.lanes import mark_slow
from tests.memscan import memscan
from tests.servers import bucket_server, point_to
from tests.whole_scans import SCAN, write_captions

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = "/usr/bin/chromium"
Once = Callable[[str, Callable[[Path], None]], Path]
# Files that take longest come first, lest one of pytest's processes wait for them at the end.
LONGEST = (
    *("test_tutorial.py", "scan/test_scan.py", "scan/test_cascade.py", "jobs/test_bench.py"),
    *("probe/test_compiled.py", "scoring/test_memory.py"),
    *(
        "faults/test_random_kills.py",
        "evidence/verify/test_verify.py",
        "cluster/test_dispatcher.py",
    ),
    *("faults/test_damaged_runs.py", "scoring/test_trajectory.py", "models/test_families.py"),
    *("jobs/test_explain.py", "infra/test_guide.py", "scan/test_planning_in_stages.py"),
    *("models/test_lora.py", "evidence/explain/test_page.py", "curation/test_testbed.py"),
    *("infra/test_bucket.py", "review/test_browser.py", "testbed/test_testbed.py"),
    *("test_quality.py", "test_wheel.py"),
)

# Read when a process starts, of pytest or of a test: by default, glibc returns the memory of
# every large tensor to the system, and gets it back page by page, a tenth of the CPU time of scans.
for name, value in (("MALLOC_TRIM_THRESHOLD_", str(1 << 32)), ("MALLOC_MMAP_MAX_", "0")):
    os.environ.setdefault(name, value)

# What test modules import stays: looking through it for garbage takes a third of their time.
gc.disable()


def pytest_sessionstart(session: pytest.Session) -> None:
    # Shells ignore SIGINT in background jobs, where tests that send it would hang.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if session.config.getoption("numprocesses", None):
        gc.enable()  # its workers collect, not this process


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # so that libraries find nothing left of theirs at the end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))
    mark_slow(items)


class SavedModels(Mapping[str, Path]):
    """Directories of saved random pipelines, by kind: each is made when it is first asked for, by
    one of pytest's processes for all."""

    def __init__(self, once: Once, kinds: Iterable[str], make: Callable[[str], Any]) -> None:
        self._once, self._kinds, self._make = once, tuple(kinds), make

    def __getitem__(self, kind: str) -> Path:
        if kind not in self._kinds:
            raise KeyError(kind)

        def save(folder: Path) -> None:
            self._make(kind).save_pretrained(folder / "model")

        return self._once(kind, save) / "model"

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


@pytest.fixture(scope="session")
def random_models(once: Once) -> Mapping[str, Path]:
    """Directories of saved random pipelines, by kind."""
    from tests.random_pipelines import KINDS, make_random_pipeline

    return SavedModels(once, KINDS, make_random_pipeline)


@pytest.fixture(scope="session")
def random_transformers(once: Once) -> Mapping[str, Path]:
    """Directories of saved random pipelines with a transformer, by kind."""
    from tests.random_transformers import KINDS, make_random_transformer

    return SavedModels(once, KINDS, make_random_transformer)


@pytest.fixture(scope="session")
def random_families(once: Once) -> Mapping[str, Path]:
    """Directories of saved random pipelines of further families, by kind."""
    from tests.random_families import FAMILIES, make_random_family

    return SavedModels(once, FAMILIES, make_random_family)


@pytest.fixture(scope="session")
def random_folders(
    random_models: dict[str, Path],
    random_transformers: dict[str, Path],
    random_families: dict[str, Path],
) -> Mapping[str, Path]:
    """Directories of all saved random pipelines, by kind."""
    return ChainMap(random_models, random_transformers, random_families)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A folder of a name, which the first of pytest's processes to want it makes for all."""
    here = tmp_path_factory.getbasetemp()
    shared = here.parent if "PYTEST_XDIST_WORKER" in os.environ else here

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        with FileLock(shared / f"{name}.lock"):
            if not (shared / name / "made").exists():
                shutil.rmtree(shared / name, ignore_errors=True)
                (shared / name).mkdir()
                make(shared / name)
                (shared / name / "made").touch()
        return shared / name

    return folder


@pytest.fixture(scope="session")
def demo(once: Once) -> Path:
    """What memscan demo leaves, in the folder ``demo``, and what it printed, in ``printed``."""

    def make(folder: Path) -> None:
        done = memscan("demo", "--out", "demo", folder=folder)
        (folder / "printed").write_text(done.stdout)

    return once("demo", make)


@pytest.fixture(scope="session")
def testbed_run(demo: Path) -> str:
    """The demo's scan: the testbed's whole training set, held-out captions too."""
    return str(demo / "demo" / "run-standard")


@pytest.fixture(scope="module")
def few_replicates() -> Iterator[None]:
    """Draw 200 bootstrap replicates instead of 1,000, which take most of a calibration's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scanner.calibration.statistics.bootstrap.REPLICATES", 200)
        yield


@pytest.fixture(scope="session")
def data(once: Once) -> Path:
    """400 distinct captions in 3,000 rows of csv."""
    name = "captions.csv"
    folder = once("data", lambda folder: write_captions(folder / name, rows=3000, distinct=400))
    return folder / name


@pytest.fixture(scope="session")
def undisturbed(once: Once, data: Path) -> str:
    """A sealed run of ``data`` that nothing disturbed: what the disturbed ones must equal."""

    def make(folder: Path) -> None:
        memscan(*SCAN, "--captions", str(data), "--out", str(folder / "run"))

    return str(once("undisturbed", make) / "run")


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    if not shutil.which(CHROMIUM):
        pytest.skip(f"no {CHROMIUM}: install Debian's package chromium to look at pages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=120_000
        )
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket on a real S3 server process; the environment points s3fs to it."""
    server = bucket_server(tmp_path_factory.mktemp("s3"))
    with pytest.MonkeyPatch.context() as environ:
        point_to(server.port, environ)
        yield "s3://bucket"
    server.kill()


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket on a server of Google Cloud Storage, to which the environment points."""
    server = gcs_server(tmp_path_factory.mktemp("gcs"))
    with pytest.MonkeyPatch.context() as environ:
        point_to_gcs(server.port, environ)
        yield "gs://bucket"
    server.kill()


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a container on a server of Azure, to which the environment points."""
    server = azure_server(tmp_path_factory.mktemp("azure"))
    with pytest.MonkeyPatch.context() as environ:
        point_to_azure(server.port, environ)
        make_container("bucket")
        yield "az://bucket"
    server.kill()
