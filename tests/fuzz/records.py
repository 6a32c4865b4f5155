"""JSON and TOML records changed where it hurts: values of other types, keys gone, numbers huge."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.files import ANY_TEXT

# What programs expect least where something else should stand.
VALUES = (
    None, True, -1, 0, 10**400, 1.5, float("nan"), "", "x", "../../x", "/etc/passwd", "\x00",
    "s3://bucket/x", [], [None], {}, {"x": None}, [[]] * 3, "\ud800",
)  # fmt: skip


def _paths(record: Any, path: tuple = ()) -> list[tuple]:
    """The path of everything in a record, the record itself first."""
    inner: Any = []
    if isinstance(record, dict):
        inner = record.items()
    elif isinstance(record, list):
        inner = enumerate(record)
    return [path, *(found for name, one in inner for found in _paths(one, (*path, name)))]


@st.composite
def changed(draw: st.DrawFn, record: Any) -> Any:
    """A copy of a record with one to three changes."""
    found = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_paths(found)))
        if not path:
            continue
        place = found
        for name in path[:-1]:
            place = place[name]
        _change(draw, place, path[-1])
    return found


def _change(draw: st.DrawFn, place: Any, name: Any) -> None:
    how = draw(st.sampled_from(("value", "value", "text", "remove", "more", "again")))
    if how == "value":
        place[name] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    elif how == "text":
        place[name] = draw(ANY_TEXT)
    elif how == "remove":
        del place[name]
    elif isinstance(place, list):
        place.append(copy.deepcopy(place[name]))
    else:
        place["more" if how == "more" else name + "2"] = copy.deepcopy(place[name])


def json_bytes(record: Any) -> bytes:
    return json.dumps(record).encode()


def changed_json(data: bytes) -> st.SearchStrategy[bytes]:
    """A JSON file with changes, or something else altogether."""
    others = st.sampled_from((b"", b"null", b"[]", b"{}", b"1", b"\xff", b"[" * 3_000, b'{"a":'))
    return changed(json.loads(data)).map(json_bytes) | others
