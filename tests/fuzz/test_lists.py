"""Labels and lists of captions by others: every row is heeded, or the file is refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from scanner.calibration.labels.label_files import read_labels
from scanner.calibration.labels.label_values import MEANINGS
from scanner.captions.caption_list import read_caption_list
from scanner.errors import UserError
from tests.fuzz.conftest import Explore
from tests.fuzz.files import JSON, TEXT, File, line_files, tar_files

Place = Callable[[str, bytes], str]
NOT_UTF_8: dict[str, Any] = {"file": File("a.csv", b"\x80\n1\n")}


@pytest.mark.slow
def test_lists_are_read_the_same_each_time_or_refused(explore: Explore, place: Place) -> None:
    def check(file: File, name: str) -> None:
        url = place(name or file.name, file.data)
        found = []
        for _ in range(2):
            try:
                found.append(
                    read_caption_list(url, "--captions", ("caption_id", "caption", "text"))
                )
            except UserError as error:
                found.append(("refused", [str(error)]))
        assert found[0] == found[1]
        for text in found[0][1]:
            text.encode()

    explore(
        check,
        [NOT_UTF_8 | {"name": ""}],
        file=line_files() | tar_files(),
        name=st.sampled_from(("", "list", "a.gz")),
    )


def test_labels_are_read_or_refused(explore: Explore, place: Place) -> None:
    def check(file: File) -> None:
        try:
            read_labels(place(file.name, file.data))
        except UserError as error:
            str(error).encode()

    explore(check, [NOT_UTF_8], file=line_files() | tar_files())


def test_every_label_counts_or_is_refused(explore: Explore, place: Place) -> None:
    def check(rows: list[tuple[str, Any, Any]]) -> None:
        names = ("caption", "memorized", "family")
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        url = place("a.jsonl", "\n".join(lines).encode())
        try:
            found = read_labels(url)
        except UserError:
            return
        blank = [row for row in rows if row[1] is None or not str(row[1]).strip()]
        assert len(found.names) == len(rows) - len(blank)
        assert found.unlabeled == len(blank)
        assert found.names == [
            caption for caption, label, _ in rows if (caption, label, _) not in blank
        ]

    label = st.sampled_from((*MEANINGS, True, False, 1, 0, 1.0, None, " ", "Yes", "maybe")) | JSON
    rows = st.lists(st.tuples(TEXT, label, st.none() | TEXT), min_size=1, max_size=6)
    explore(check, rows=rows)
