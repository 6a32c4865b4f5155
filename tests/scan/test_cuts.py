"""Staged parts are read back cut by cut, and damage to them is an error."""

import random
import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from scanner.captions.identity import caption_ids
from scanner.run import Commits
from scanner.run.json_files import MOST_CUTS
from scanner.run.records import DamagedFile
from scanner.scan.plan import cuts
from scanner.scan.plan.cuts import IDS, ByteRange, IdRange, StagedPart, id_of, read_cuts, stage
from scanner.scan.plan.merging import staged_parts
from scanner.scan.plan.sizes import PlanSizes
from scanner.scan.plan.spellings import SPELLINGS
from scanner.storage import Store

KIND = "planning/0000/spellings"
FOUR_ROWS = PlanSizes(staged_rows=4)


def spellings(texts: list[str]) -> pa.Table:
    """Return texts as spellings of captions, sorted by id."""
    count = len(texts)
    columns = [caption_ids(texts), texts, texts, [False] * count, [1] * count]
    return pa.table(columns, schema=SPELLINGS).sort_by("caption_id")


def write(store: Store, table: pa.Table, sizes: PlanSizes = FOUR_ROWS) -> StagedPart:
    """Commit spellings as one part, and return it."""
    commits = Commits(store, "planning/0000/read")
    notes: dict[str, list] = {"staged": []}
    commits.commit("0", stage(KIND, table, sizes, notes["staged"]), notes=notes)
    (part,) = staged_parts(commits, commits.all(), KIND)
    return part


def read(store: Store, part: StagedPart, first: int, end: int) -> pa.Table:
    source = part.find(first, end)
    item = IdRange("0", id_of(first), id_of(end - 1), (source,) if source else ())
    return pa.concat_tables(read_cuts(store, item)) if source else SPELLINGS.empty_table()


def test_any_range_is_read_from_one_range_of_bytes(tmp_path: Path) -> None:
    table = spellings([f"caption {number}" for number in range(500)])
    store = Store(str(tmp_path))
    part = write(store, table)
    assert len(part.cuts) == 64
    ids = [int(one, 16) for one in table["caption_id"].to_pylist()]
    choose = random.Random(0)
    bounds = [(choose.randrange(IDS), choose.randrange(IDS)) for _ in range(50)]
    bounds += [(0, IDS), (ids[7], ids[9]), (ids[7], ids[7] + 1), (IDS // 64, IDS // 32), (0, 1)]
    for low, high in ((min(pair), max(pair)) for pair in bounds):
        wanted = table.filter(pa.array([low <= one < high for one in ids]))
        assert read(store, part, low, high).equals(wanted), (low, high)
    narrow = part.find(IDS // 64, IDS // 32)
    assert narrow
    assert narrow.end - narrow.start == part.cuts[1]


def test_rows_in_few_places_make_empty_cuts(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    part = write(store, pa.concat_tables([spellings(["the same"])] * 40))
    assert len(part.cuts) == 8
    assert sum(size > 0 for size in part.cuts) == 1
    assert read(store, part, 0, IDS).num_rows == 40
    assert None in [part.find(IDS * cut // 8, IDS * (cut + 1) // 8) for cut in range(8)]


def test_long_captions_make_more_cuts(tmp_path: Path) -> None:
    table = spellings([f"{number} {'long ' * 2000}" for number in range(16)])
    part = write(Store(str(tmp_path)), table, PlanSizes(staged_bytes=40_000))
    assert len(part.cuts) == 8
    assert part.long_bytes == 2 * sum(len(text) for text in table["caption"].to_pylist())


def test_a_part_of_the_most_cuts_can_be_read(tmp_path: Path) -> None:
    table = spellings([f"caption {number}" for number in range(2 * MOST_CUTS)])
    store = Store(str(tmp_path))
    part = write(store, table, PlanSizes(staged_rows=1))
    assert len(part.cuts) == MOST_CUTS
    assert read(store, part, 0, IDS).equals(table)


def test_large_parts_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [
        ByteRange(str(number), 0, size) for number, size in enumerate([1, 2, 9, 9, *[1] * 9])
    ]
    monkeypatch.setattr(cuts, "READ_BYTES", 8)
    batches = [[source.end for source in batch] for batch in cuts._batches(sources)]
    assert batches == [[1, 2], [9], [9], [1] * 8, [1]]
    assert list(cuts._batches([])) == [[]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
        lambda data: struct.pack("<III", *struct.unpack("<III", data[:12])[:2], 0) + data[12:],
        lambda data: data[:4] + struct.pack("<I", 2**32 - 1) + data[8:],
        lambda data: bytes(len(data)),
        lambda data: b"",
    ],
    ids=["short", "changed", "checksum", "declares too much", "zeros", "empty"],
)
def test_a_damaged_part_is_named_with_its_remedy(tmp_path: Path, damage) -> None:
    store = Store(str(tmp_path))
    part = write(store, spellings([f"caption {number}" for number in range(20)]))
    store.write(part.path, damage(store.read(part.path)))
    with pytest.raises(DamagedFile, match=r"spellings/.*\.cuts is damaged .*rerun the same"):
        read(store, part, 0, IDS)


def test_hostile_cuts_with_valid_checksums_are_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    (batch,) = spellings([f"caption {number}" for number in range(20)]).to_batches()
    message = batch.serialize().to_pybytes()
    choose, refused = random.Random(0), 0
    for _ in range(800):
        changed = bytearray(message)
        for _ in range(choose.randint(1, 4)):
            changed[choose.randrange(len(changed))] = choose.randrange(256)
        stored = cuts._CODEC.compress(bytes(changed), asbytes=True)
        data = cuts._HEADER.pack(len(stored), len(changed), zlib.crc32(stored)) + stored
        try:
            for one in cuts._decode(store, ByteRange("a/b/c", 0, len(data)), data):
                one.to_pylist()
        except DamagedFile:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("change", [lambda cuts: cuts[:-1], lambda cuts: [cuts[0] + 1, *cuts[1:]]])
def test_cuts_that_do_not_add_up_to_their_part_are_refused(tmp_path: Path, change) -> None:
    store = Store(str(tmp_path))
    commits = Commits(store, "planning/0000/read")
    notes: dict[str, list] = {"staged": []}
    table = spellings([f"caption {number}" for number in range(20)])
    outputs = list(stage(KIND, table, FOUR_ROWS, notes["staged"]))

    commit = commits.commit("0", outputs, notes=notes)
    commit.notes["staged"][0]["cuts"] = change(commit.notes["staged"][0]["cuts"])
    with pytest.raises(DamagedFile, match=r"read/0\.0\.json is damaged"):
        staged_parts(commits, [commit], KIND)
