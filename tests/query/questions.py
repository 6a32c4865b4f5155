"""A run of a few rows, and the results of named queries on it."""

from typing import Any

from scanner.query import RunTables, library
from tests.query.runs import trigger

RED = "a red shaw floors poster"
BLUE = "a blue shaw floors poster"
ROWS = [
    {
        "caption_id": "a",
        "caption": RED,
        "n_samples": 8,
        "noise_norm_first": 9.0,
        "entropy_e": 3.0,
        "bos_mass": 0.1,
        "noise_norm_first_seeds": [8.0, 10.0],
        "seeds": 2,
        "triggers": [trigger(RED, "shaw", 0.3), trigger(RED, "floors", 0.2)],
        "url": "https://Shop.example:443/1.jpg",
        "source": "one.csv",
    },
    {
        "caption_id": "b",
        "caption": BLUE,
        "n_samples": 1,
        "noise_norm_first": 8.0,
        "entropy_e": 1.0,
        "bos_mass": 0.2,
        "noise_norm_first_seeds": [8.0, 8.0],
        "seeds": 2,
        "triggers": [
            trigger(BLUE, "floors", 0.1),
            trigger(BLUE, "shaw", 0.3),
            trigger(BLUE, "a", 0.1),
        ],
        "url": "https://shop.example/2.jpg",
    },
    {
        "caption_id": "c",
        "caption": "the quiet river at night",
        "n_samples": 4,
        "noise_norm_first": 2.0,
        "entropy_e": 2.0,
        "bos_mass": 0.4,
        "noise_norm_first_seeds": [2.0, 2.0],
        "seeds": 2,
        "url": "https://else.example/3.jpg",
    },
    {
        "caption_id": "d",
        "caption": "a boat'); DROP TABLE scores; --",
        "noise_norm_first": 1.0,
        "entropy_e": 0.5,
        "bos_mass": 0.5,
        "noise_norm_first_seeds": [1.0, 1.0],
        "seeds": 2,
        "truncated": True,
    },
    {
        "caption_id": "r",
        "caption": "held out",
        "is_reference": True,
        "noise_norm_first": 99.0,
        "entropy_e": 9.0,
        "bos_mass": 0.0,
        "noise_norm_first_seeds": [99.0, 99.0],
        "seeds": 2,
    },
    {"caption_id": "x", "caption": "has no score", "scored": False},
]
REJECTS = [
    {"source": "s.csv", "row": 1, "stage": "plan", "reason": "empty caption"},
    {"source": "s.csv", "row": 2, "stage": "plan", "reason": "bad row: 3 cells"},
]


def named_rows(tables: RunTables, name: str, **given: str) -> list[dict[str, Any]]:
    query = library()[name]
    found = tables.query(query.sql, query.bind(given))
    assert found.column_names == list(query.columns), "the header names other columns"
    return found.to_pylist()
