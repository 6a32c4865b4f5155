"""Copy a WebDataset tar without some samples; the remaining members' bytes are unchanged."""

import gzip
import shutil
import tarfile
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import IO, Any

from scanner.captions.tar_headers import open_tar
from scanner.captions.webdataset import check_end, placed_members, split_name
from scanner.curation.copies.reproducible_gzip import open_compressed
from scanner.storage import compression_of

# Returns whether to remove a sample, given its number and key.
IsRemoved = Callable[[int, str], bool]


def clean_tar(source: Path, target: Path, is_removed: IsRemoved) -> None:
    """Write ``target``, keeping members that belong to no sample and archive-wide headers.

    Raises ValueError if a sample's files are not adjacent, or if a kept file is a hard link to a
    removed one.
    """
    written = 0
    with (
        _open_uncompressed(source, target) as file,
        open_compressed(target) as out,
        open_tar(file) as tar,
    ):
        for start, end in _kept_ranges(tar, is_removed):
            _copy(file, start, end, out)
            written += end - start
        check_end(tar)
        blank = 2 * tarfile.BLOCKSIZE
        out.write(bytes(blank + -(written + blank) % tarfile.RECORDSIZE))


def _kept_ranges(tar: tarfile.TarFile, is_removed: IsRemoved) -> Iterator[tuple[int, int]]:
    """Yield the byte range (start, end) of every kept member, including its headers."""
    removed: set[str] = set()
    done = 0
    for member, sample in placed_members(tar):
        start, end = member.offset, tar.offset
        if start > done:
            yield done, start
        done = end
        if sample and is_removed(sample.row, sample.key):
            removed.add(sample.key)
        elif not _is_removed_link(member, removed):
            yield start, end


def _is_removed_link(member: tarfile.TarInfo, removed: Set[str]) -> bool:
    """Return whether a member is a link that belongs to a removed sample."""
    if not member.islnk() and not member.issym():
        return False
    own, target = split_name(member.name), split_name(member.linkname)
    if own and own[0] in removed:
        return True
    if member.islnk() and target and target[0] in removed:
        raise ValueError(f"{member.name} is a hard link to {member.linkname}, which is removed")
    return False


def _copy(file: IO[bytes], start: int, end: int, out: Any) -> None:
    file.seek(start)
    left = end - start
    while left:
        data = file.read(min(left, 1 << 20))
        if not data:
            raise tarfile.ReadError(f"the file ends before byte {end}")
        out.write(data)
        left -= len(data)


def _open_uncompressed(source: Path, target: Path) -> IO[bytes]:
    """Open the archive, decompressed next to the target: seeking back in gzip would restart it."""
    if not compression_of(source.name):
        return source.open("rb")
    plain = target.with_name(target.name + ".uncompressed")
    with gzip.open(source) as compressed, plain.open("wb") as file:
        shutil.copyfileobj(compressed, file)
    opened = plain.open("rb")
    plain.unlink()  # deletes the file when it is closed
    return opened
