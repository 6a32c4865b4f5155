"""The named query that ranks images, each by the caption that is most likely memorized."""

from pathlib import Path

import pytest

from scanner.query import library, open_run, run_named_query
from tests.curation.runs import loudness, make_run, write_rows


@pytest.mark.slow
def test_an_image_ranks_by_its_most_memorized_caption(tmp_path: Path) -> None:
    rows = [("loud", "u1"), ("quiet a", "u1"), ("quiet a", "u2"), ("quiet b", None)]
    data = write_rows(tmp_path / "a.jsonl", rows)
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    query = library()["rank_images"]
    found = run_named_query(open_run(run), query, {"top": "2"}).to_pylist()
    assert [(row["image"], row["captions"], row["samples"], row["caption"]) for row in found] == [
        ("u1", 2, 2, "loud"),
        (f"{data}#3", 1, 1, "quiet b"),
    ]
    assert (found[0]["rank_signal"], found[0]["rank_score"]) == ("noise_norm_first", 9.0)
