"""A WebDataset tar without some of its samples: the other members are the same to the byte."""

import gzip
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from scanner.captions.webdataset import check_end, split_name
from scanner.curation.copies.packing import write_packed

# Tells by the sample's number and key whether it goes.
Goes = Callable[[int, str], bool]


def clean_tar(source: Path, target: Path, goes: Goes) -> list[int]:
    """Write ``target``; the numbers of the samples that were left out.

    Members that are no files, and headers for the whole archive, stay.
    """
    left_out: list[int] = []
    written = 0
    with (
        _plain(source, target) as file,
        write_packed(target) as out,
        tarfile.open(fileobj=file, mode="r:") as tar,
    ):
        for number, key, begin, end in _spans(tar):
            if number is not None and goes(number, key):
                if number not in left_out[-1:]:
                    left_out.append(number)
                continue
            _copy(file, begin, end, out)
            written += end - begin
        check_end(file, tar)
        blank = 2 * tarfile.BLOCKSIZE
        out.write(bytes(blank + -(written + blank) % tarfile.RECORDSIZE))
    return left_out


def _spans(tar: tarfile.TarFile) -> Iterator[tuple[int | None, str, int, int]]:
    """Sample's number and key, first byte, end: of each file; number None for what is no sample."""
    number, last, done = -1, None, 0
    while member := tar.next():
        tar.members = []  # type: ignore[attr-defined]  # else it holds every one it has seen
        begin, end = member.offset, tar.offset
        if begin > done:
            yield None, "", done, begin
        done = end
        if not member.isfile():
            yield None, "", begin, end
            continue
        key = split_name(member.name)[0]
        number += key != last
        last = key
        yield number, key, begin, end


def _copy(file: IO[bytes], begin: int, end: int, out: Any) -> None:
    file.seek(begin)
    left = end - begin
    while left:
        data = file.read(min(left, 1 << 20))
        if not data:
            raise tarfile.ReadError(f"the file ends before byte {end}")
        out.write(data)
        left -= len(data)


def _plain(source: Path, target: Path) -> IO[bytes]:
    """The archive, unpacked beside the target: going back in a gzip stream means to begin anew."""
    if not source.name.lower().endswith(".gz"):
        return source.open("rb")
    plain = target.with_name(target.name + ".unpacked")
    with gzip.open(source) as packed, plain.open("wb") as file:
        shutil.copyfileobj(packed, file)
    opened = plain.open("rb")
    plain.unlink()  # it is gone when it is closed
    return opened
