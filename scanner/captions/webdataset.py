"""Samples of WebDataset tars: their texts, not their images.

Neighbouring members whose paths are the same up to the first dot of the name are one sample; that
path is its ``key``. ``key.txt`` becomes the column ``txt``, ``key.json`` a column for each name in
it. A row's number is the sample's place in the tar.
"""

import itertools
import tarfile
from collections.abc import Callable, Iterator

from scanner.captions.batch import Batch, Contents, Extent, collect
from scanner.captions.lines import FIRST_LINES, json_row, stored_bytes
from scanner.storage import open_input

# What is skipped inside a block has been fetched from a remote store already, and what is skipped
# beyond it never is: small enough to spare large images, large enough for few requests.
BLOCK_BYTES = 1 << 20
TEXT_BYTES = 1 << 20


def tar_contents(url: str) -> Contents:
    """The columns of the first sample with a text."""
    for row in itertools.islice(_samples(url), FIRST_LINES):
        if isinstance(row, dict):
            return Contents(list(row), stored_bytes(url))
    raise ValueError(f"no text (.txt, .json) in the first {FIRST_LINES} samples")


def tar_batches(url: str, columns: list[str], extent: Extent | None) -> Iterator[Batch]:
    yield from collect(_samples(url), columns)


def tar_files(url: str) -> Iterator[tuple[int, str, str, Callable[[int], bytes]]]:
    """Of each file in a tar: its sample's row and key, its ending, and what reads so many bytes.

    Rows and keys are those of the samples table. Raises OSError and tarfile.TarError.
    """
    with (
        open_input(url, compression="infer", block_size=BLOCK_BYTES) as file,
        tarfile.open(fileobj=file, mode="r:") as tar,
    ):
        groups = itertools.groupby(_members(tar), lambda member: split_name(member.name)[0])
        for row, (key, members) in enumerate(groups):
            for member in members:
                opened = tar.extractfile(member)
                assert opened is not None, "a member that is a file"
                yield row, key, split_name(member.name)[1], opened.read


def _samples(url: str) -> Iterator[dict | str]:
    """The texts of each sample as one row, or why it is bad."""
    with (
        open_input(url, compression="infer", block_size=BLOCK_BYTES) as file,
        tarfile.open(fileobj=file, mode="r:") as tar,
    ):
        for key, members in itertools.groupby(_members(tar), lambda one: split_name(one.name)[0]):
            row: dict | str = {}
            texts = 0
            for member in members:
                ending = split_name(member.name)[1]
                if ending not in ("txt", "json") or isinstance(row, str):
                    continue
                row = _with(row, ending, _read(tar, member))
                texts += 1
            if isinstance(row, dict):
                row = {**row, "key": key} if texts else "bad row: no text (.txt, .json) with it"
            yield row
        check_end(file, tar)


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while member := tar.next():
        tar.members = []  # type: ignore[attr-defined]  # else it holds every one it has seen
        if member.isfile():
            yield member


def split_name(path: str) -> tuple[str, str]:
    """The key and the ending, in lower case: everything behind the first dot of the name."""
    folder, slash, name = path.rpartition("/")
    stem, _, ending = name.partition(".")
    return folder + slash + stem, ending.lower()


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str | None:
    if member.size > TEXT_BYTES:
        return None
    file = tar.extractfile(member)
    assert file is not None, "a member that is a file"
    return file.read().decode("utf-8-sig", "surrogateescape")


def _with(row: dict, ending: str, text: str | None) -> dict | str:
    """The row with what one more of its members says."""
    if text is None:
        return f"bad row: a .{ending} of more than {TEXT_BYTES} bytes"
    if ending == "txt":
        return {**row, "txt": text}
    found = json_row(text)
    return {**found, **row} if isinstance(found, dict) else found


def check_end(file: object, tar: tarfile.TarFile) -> None:
    """Raises where tarfile stops at a damaged header as if it were the end."""
    file.seek(tar.offset)  # type: ignore[attr-defined]
    if any(file.read(tarfile.BLOCKSIZE)):  # type: ignore[attr-defined]
        raise tarfile.ReadError(f"a damaged header at byte {tar.offset}")
