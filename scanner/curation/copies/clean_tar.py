"""A WebDataset tar without some of its samples: the other members are the same to the byte."""

import gzip
import shutil
import tarfile
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import IO, Any

from scanner.captions.tar_headers import open_tar
from scanner.captions.webdataset import check_end, placed_members, split_name
from scanner.curation.copies.packing import write_packed
from scanner.storage import compression_of

# Tells by the sample's number and key whether it goes.
Goes = Callable[[int, str], bool]


def clean_tar(source: Path, target: Path, goes: Goes) -> None:
    """Write ``target``. Members of no sample, and headers for the whole archive, stay.

    Raises ValueError where a sample's files do not follow one another, or one that stays is a hard
    link to one that goes.
    """
    written = 0
    with (
        _plain(source, target) as file,
        write_packed(target) as out,
        open_tar(file) as tar,
    ):
        for begin, end in _kept(tar, goes):
            _copy(file, begin, end, out)
            written += end - begin
        check_end(tar)
        blank = 2 * tarfile.BLOCKSIZE
        out.write(bytes(blank + -(written + blank) % tarfile.RECORDSIZE))


def _kept(tar: tarfile.TarFile, goes: Goes) -> Iterator[tuple[int, int]]:
    """First byte and end of every member that stays, with its own headers."""
    gone: set[str] = set()
    done = 0
    for member, place in placed_members(tar):
        begin, end = member.offset, tar.offset
        if begin > done:
            yield done, begin
        done = end
        if place and goes(place.row, place.key):
            gone.add(place.key)
        elif not _linked(member, gone):
            yield begin, end


def _linked(member: tarfile.TarInfo, gone: Set[str]) -> bool:
    """Whether a member is a link of a sample that goes."""
    if not member.islnk() and not member.issym():
        return False
    own, target = split_name(member.name), split_name(member.linkname)
    if own and own[0] in gone:
        return True
    if member.islnk() and target and target[0] in gone:
        raise ValueError(f"{member.name} is a hard link to {member.linkname}, which is removed")
    return False


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
    if not compression_of(source.name):
        return source.open("rb")
    plain = target.with_name(target.name + ".unpacked")
    with gzip.open(source) as packed, plain.open("wb") as file:
        shutil.copyfileobj(packed, file)
    opened = plain.open("rb")
    plain.unlink()  # it is gone when it is closed
    return opened
