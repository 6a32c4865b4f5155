"""Values of every SQL type are shown correctly."""

import csv
import io
import json

import pytest

from tests.memscan import called
from tests.query.test_query import make_run

VALUES = {
    "TIMESTAMP_NS '2020-01-01 00:00:00.123456789'": "2020-01-01 00:00:00.123456789",
    "TIMESTAMP '12020-01-01 00:00:00'": "12020-01-01 00:00:00",
    "DATE '12020-01-01'": "12020-01-01",
    "TIMESTAMP 'infinity' > now()": True,
    "TIMESTAMPTZ '2020-01-01 10:00:00.5+02'": "2020-01-01 08:00:00.500000Z",
    "to_timestamp(1764337212)": "2025-11-28 13:40:12Z",
    "TIME '10:00:00'": "10:00:00",
    "INTERVAL 90 SECOND": "00:01:30",
    "INTERVAL '14 months -2 days'": "14 months -2 days",
    "[INTERVAL '-1.5 seconds']": ["-00:00:01.5"],
    "{'at': TIMESTAMP '2020-01-01', 'on': [DATE '2020-01-01']}": {
        "at": "2020-01-01 00:00:00.000000",
        "on": ["2020-01-01"],
    },
    "'\\xFFa'::BLOB": "\\xFFa",
    "1.50::DECIMAL(10, 2)": 1.5,
    "2::HUGEINT": 2,
    "'nan'::DOUBLE": None,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_run(tmp_path_factory.mktemp("values"))


@pytest.mark.slow
def test_values_of_every_type_are_written_as_json_and_csv(run: str) -> None:
    query = f"SELECT {', '.join(f'{value} AS v{k}' for k, value in enumerate(VALUES))}"
    (row,) = json.loads(called("sql", run, query, "--json").stdout)
    assert list(row.values()) == list(VALUES.values())
    text = called("sql", run, query, "--format", "csv").stdout
    (written,) = list(csv.reader(io.StringIO(text)))[1:]
    assert written[:2] == [*VALUES.values()][:2]


def test_large_numbers_are_shown_in_full(run: str) -> None:
    shown = called("sql", run, "SELECT 1764337212.25::DOUBLE AS a, 0.123456 AS b").stdout
    assert "1764337212" in shown
    assert "0.1235" in shown
