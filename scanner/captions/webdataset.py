"""Samples of WebDataset tars: their texts, not their images.

Files whose paths are the same up to the first dot of the name are one sample, as for the
``webdataset`` library; that path is its ``key``. ``key.txt`` becomes the column ``txt``,
``key.json`` a column for each name in it. A row's number is the sample's place in the tar.

A sample's files have to follow one another, else the tar is refused: that library would make two
samples of them. Two files with one ending make the sample a bad row. Files that belong to no sample
are skipped and counted: hidden ones (``._000.jpg`` of macOS), ``__meta__``, names without an
ending, links, and READMEs and licences.
"""

import io
import itertools
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from scanner.captions.batch import Batch, Contents, Extent, collect
from scanner.captions.limits import LINE_CHARACTERS, SAMPLE_FILES, TAR_HEADER_BYTES, TAR_SAMPLES
from scanner.captions.lines import first_names, json_row
from scanner.captions.tar_headers import next_member, open_tar
from scanner.storage import open_input

# What is skipped inside a block has been fetched from a remote store already, and what is skipped
# beyond it never is: small enough to spare large images, large enough for few requests.
BLOCK_BYTES = 1 << 20
# How much of a tar is looked through for the names in its samples' json, if there are some by then.
FIRST_BYTES = 32 << 20
FALLBACK = "txt"
# The key of a file whose headers, which may name it, exceed the limit.
UNNAMED = ""
SKIPPED = "files in the tar belong to no sample (hidden, without an ending, README) and are skipped"
_DOCUMENTS = ("readme", "license", "licence")


@dataclass(frozen=True)
class Place:
    """Where a file in a tar belongs: its sample's row and key, and its ending in lower case."""

    row: int
    key: str
    ending: str


def tar_contents(url: str) -> Contents:
    """All names in the first samples; a sample without a caption in its json has it in its txt."""
    with _opened(url) as tar:
        found = first_names(_samples(tar, Counter()), lambda: tar.offset > FIRST_BYTES)
    return Contents(
        found.names,
        is_open=found.any_rows,
        is_whole=found.is_whole,
        fallback=FALLBACK,
    )


def tar_batches(url: str, columns: list[str], extent: Extent | None) -> Iterator[Batch]:
    notes: Counter[str] = Counter()
    with _opened(url) as tar:
        yield from collect(_samples(tar, notes), columns, notes)


def tar_files(url: str) -> Iterator[tuple[int, str, str, Callable[[int], bytes]]]:
    """Of each file in a tar: its sample's row and key, its ending, and what reads so many bytes.

    Rows and keys are those of the samples table. Raises OSError, ValueError and tarfile.TarError.
    """
    with _opened(url) as tar:
        for member, place in placed_members(tar):
            if place:
                yield place.row, place.key, place.ending, _file(tar, member).read


def placed_members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, Place | None]]:
    """Yield every member with its place, None where it belongs to no sample.

    Raises ValueError where files of a sample do not follow one another. See check_end for the end.
    """
    seen: set[int] = set()
    row, last, files = -1, None, 0
    while True:
        member, is_over = next_member(tar)
        if member is None:
            return
        if is_over:
            row, last = row + 1, None
            yield member, Place(row, UNNAMED, "")
            continue
        name = split_name(member.name) if member.isfile() else None
        if name is None:
            yield member, None
            continue
        key, ending = name
        files += 1
        if key != last:
            if hash(key) in seen:
                raise ValueError(
                    f"the files of sample {key} do not follow one another in the tar; pack it "
                    "anew with its files sorted by name (tar --sort=name)"
                )
            seen.add(hash(key))
            row, last, files = row + 1, key, 1
        if files > SAMPLE_FILES or row >= TAR_SAMPLES:
            raise ValueError(
                f"more than {SAMPLE_FILES} files of sample {key}"
                if files > SAMPLE_FILES
                else f"more than {TAR_SAMPLES} samples in one tar"
            )
        yield member, Place(row, key, ending)


def split_name(path: str) -> tuple[str, str] | None:
    """Return the key and the ending, in lower case: everything behind the first dot of the name.

    None for what belongs to no sample.
    """
    folder, slash, name = path.rpartition("/")
    stem, _, ending = name.partition(".")
    hidden = any(part.startswith(".") and part != "." for part in path.split("/"))
    metadata = any(
        part.startswith("__") and part.endswith("__") for part in (*folder.split("/"), stem)
    )
    if hidden or metadata or not ending or stem.lower() in _DOCUMENTS:
        return None
    return folder + slash + stem, ending.lower()


@contextmanager
def _opened(url: str) -> Iterator[tarfile.TarFile]:
    with open_input(url, compression="infer", block_size=BLOCK_BYTES) as file:
        if not file.read(1):
            # tarfile takes a file without a byte for a damaged one.
            file = io.BytesIO(bytes(2 * tarfile.BLOCKSIZE))
        with open_tar(file) as tar:
            yield tar


def _samples(tar: tarfile.TarFile, notes: Counter[str]) -> Iterator[dict | str]:
    """The texts of each sample as one row, or why it is bad."""
    files = _files_of_samples(tar, notes)
    for (_, key), members in itertools.groupby(files, lambda pair: (pair[1].row, pair[1].key)):
        row: dict | str = {}
        endings: set[str] = set()
        for member, place in members:
            if key == UNNAMED:
                row = f"bad row: headers of more than {TAR_HEADER_BYTES} bytes"
            elif isinstance(row, dict) and place.ending in endings:
                row = f"bad row: more than one .{place.ending} with it"
            elif isinstance(row, dict) and place.ending in ("txt", "json"):
                row = _with(row, place.ending, _read(tar, member))
            endings.add(place.ending)
        if isinstance(row, dict):
            texts = endings & {"txt", "json"}
            row = {**row, "key": key} if texts else "bad row: no text (.txt, .json) with it"
        yield row
    check_end(tar)


def _files_of_samples(
    tar: tarfile.TarFile, notes: Counter[str]
) -> Iterator[tuple[tarfile.TarInfo, Place]]:
    """The members that belong to a sample; others than folders are counted."""
    for member, place in placed_members(tar):
        if place:
            yield member, place
        elif not member.isdir():
            notes[SKIPPED] += 1


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None, "a member that is a file"
    return file


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str | None:
    if member.size > LINE_CHARACTERS:
        return None
    return _file(tar, member).read().decode("utf-8-sig", "surrogateescape")


def _with(row: dict, ending: str, text: str | None) -> dict | str:
    """The row with what one more of its members says."""
    if text is None:
        return f"bad row: a .{ending} of more than {LINE_CHARACTERS} bytes"
    if ending == "txt":
        return {**row, "txt": text}
    found = json_row(text)
    return {**found, **row} if isinstance(found, dict) else found


def check_end(tar: tarfile.TarFile) -> None:
    """Raises where tarfile stops though more follows: a damaged header, or another archive."""
    file = tar.fileobj
    assert file is not None, "an open tar"
    file.seek(tar.offset)
    if any(file.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError(f"a damaged header at byte {tar.offset}")
    while data := file.read(BLOCK_BYTES):
        if any(data):
            raise tarfile.ReadError(
                f"more follows the archive's end at byte {tar.offset}, such as another tar; unpack "
                "it with tar --ignore-zeros and pack it anew"
            )
