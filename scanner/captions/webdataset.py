"""Read the texts (not the images) of samples in WebDataset tars.

Files whose paths are equal up to the first dot of the name form one sample, as in the
``webdataset`` library; that path is its ``key``. ``key.txt`` becomes the column ``txt``, and each
name in ``key.json`` a column. Row numbers are the positions of samples in the tar.

A sample's files must be adjacent, otherwise the tar is refused: the library would split them into
two samples. Two files with the same extension make the sample a bad row. Files that belong to no
sample are skipped and counted: hidden ones (``._000.jpg`` of macOS), ``__meta__``, names without an
extension, links, READMEs and licenses.
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

# Read-ahead from remote stores: small enough to skip large images, large enough for few requests.
BLOCK_BYTES = 1 << 20
# How much of a tar is searched for the names in its samples' json, once some were found.
FIRST_BYTES = 32 << 20
FALLBACK = "txt"
# The key of a file whose headers (which may contain its name) exceed the limit.
UNNAMED = ""
SKIPPED = "files in the tar belong to no sample (hidden, no extension, README) and are skipped"
_DOCUMENTS = ("readme", "license", "licence")


@dataclass(frozen=True)
class SampleFile:
    """A tar file's sample (row and key) and its extension in lower case."""

    row: int
    key: str
    ending: str


def tar_contents(url: str) -> Contents:
    """Return all names in the first samples; txt is the fallback for a caption missing in json."""
    with _opened(url) as tar:
        found = first_names(_samples(tar, Counter()), lambda: tar.offset > FIRST_BYTES)
    return Contents(
        found.names,
        is_open=found.any_rows,
        is_whole=found.is_whole,
        fallback=FALLBACK,
    )


def tar_batches(
    url: str, columns: list[str], extent: Extent | None, batch_rows: int | None = None
) -> Iterator[Batch]:
    notes: Counter[str] = Counter()
    with _opened(url) as tar:
        yield from collect(_samples(tar, notes), columns, notes, batch_rows)


def tar_files(url: str) -> Iterator[tuple[int, str, str, Callable[[int], bytes]]]:
    """Yield for each file in a tar its sample's row and key, its extension, and its read function.

    Rows and keys are those of the samples table. Raises OSError, ValueError and tarfile.TarError.
    """
    with _opened(url) as tar:
        for member, place in placed_members(tar):
            if place:
                yield place.row, place.key, place.ending, _file(tar, member).read


def placed_members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, SampleFile | None]]:
    """Yield every member with its sample, None if it belongs to none.

    Raises ValueError if the files of a sample are not adjacent. Call check_end afterwards.
    """
    seen: set[int] = set()
    row, last, files = -1, None, 0
    while True:
        member, is_over = next_member(tar)
        if member is None:
            return
        if is_over:
            row, last = row + 1, None
            yield member, SampleFile(row, UNNAMED, "")
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
                    f"the files of sample {key} are not adjacent in the tar; repack it with its "
                    "files sorted by name (tar --sort=name)"
                )
            seen.add(hash(key))
            row, last, files = row + 1, key, 1
        if files > SAMPLE_FILES or row >= TAR_SAMPLES:
            raise ValueError(
                f"more than {SAMPLE_FILES} files of sample {key}"
                if files > SAMPLE_FILES
                else f"more than {TAR_SAMPLES} samples in one tar"
            )
        yield member, SampleFile(row, key, ending)


def split_name(path: str) -> tuple[str, str] | None:
    """Split a path into key and extension (everything after the first dot, in lower case).

    Returns None for files that belong to no sample.
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
            # tarfile treats an empty file as damaged.
            file = io.BytesIO(bytes(2 * tarfile.BLOCKSIZE))
        with open_tar(file) as tar:
            yield tar


def _samples(tar: tarfile.TarFile, notes: Counter[str]) -> Iterator[dict | str]:
    """Yield the texts of each sample as one row, or the reason why it is bad."""
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
) -> Iterator[tuple[tarfile.TarInfo, SampleFile]]:
    """Yield the members that belong to a sample; count other files in ``notes``."""
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
    """Return the row with the content of one more member."""
    if text is None:
        return f"bad row: a .{ending} of more than {LINE_CHARACTERS} bytes"
    if ending == "txt":
        return {**row, "txt": text}
    found = json_row(text)
    return {**found, **row} if isinstance(found, dict) else found


def check_end(tar: tarfile.TarFile) -> None:
    """Raise if data follows where tarfile stopped: a damaged header, or another archive."""
    file = tar.fileobj
    assert file is not None, "an open tar"
    file.seek(tar.offset)
    if any(file.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError(f"a damaged header at byte {tar.offset}")
    while data := file.read(BLOCK_BYTES):
        if any(data):
            raise tarfile.ReadError(
                f"data after the archive's end at byte {tar.offset}, such as another tar; unpack "
                "it with tar --ignore-zeros and repack it"
            )
