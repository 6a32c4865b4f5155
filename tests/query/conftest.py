import pytest

from scanner.query import RunTables, open_run
from tests.query.questions import REJECTS, ROWS
from tests.query.runs import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    rejects = [{"key": None, "caption_id": None, **row} for row in REJECTS]
    return make_run(tmp_path_factory.mktemp("runs") / "run", ROWS, rejects)


@pytest.fixture
def tables(run: str) -> RunTables:
    return open_run(run)
