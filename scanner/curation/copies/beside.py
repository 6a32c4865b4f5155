"""What img2dataset wrote beside its tables: the images, in a tar or a folder of the same name."""

import posixpath
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.values import as_text
from scanner.captions.webdataset import split_name
from scanner.curation.copies.clean_tar import clean_tar
from scanner.curation.copies.shards import Shard
from scanner.errors import UserError
from scanner.storage import Roots, Store, files_at, open_input, split_url

KEY = "key"


def clean_beside(
    shard: Shard, table: Path, removed: Sequence[int], copies: Store, roots: Roots
) -> list[str]:
    """Copy a shard's images without those of the rows removed, by their keys in its table.

    Nothing to do where there are none. Returns the names that are refused: those that lead out of
    the shard's folder. Raises UserError where a removed row has no image there, and where the tar
    or the folder itself is a link that leads out of ``roots``.
    """
    keys = as_text(pq.read_table(table, columns=[KEY])[KEY].combine_chunks())
    places = pa.array(list(removed), pa.int64())
    gone = {key for key in keys.take(places).to_pylist() if key is not None}
    stem = shard.source.removesuffix(".parquet")
    fs, path = split_url(stem)
    tar = f"{stem}.tar"
    refused: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if fs.exists(f"{path}.tar"):
            _refuse_link(roots, tar)
            found = _tar(tar, shard, gone, copies, Path(folder))
        elif fs.isdir(path):
            _refuse_link(roots, stem)
            found, refused = _folder(stem, shard, gone, copies, Path(folder))
        else:
            return []
    if found != gone:
        raise UserError(
            f"{stem}: {len(gone - found):,} of the {len(gone):,} samples to remove have no image "
            f"there, such as {min(gone - found)}: not the files that img2dataset wrote with "
            f"{shard.source}"
        )
    return refused


def _refuse_link(roots: Roots, url: str) -> None:
    if why := roots.why_sidecar_refused(url):
        raise UserError(f"{url} is refused: {why}; to allow it, name its directory by --input-root")


def _tar(url: str, shard: Shard, gone: set[str], copies: Store, folder: Path) -> set[str]:
    source, target = folder / "source.tar", folder / "target.tar"
    with open_input(url) as remote, source.open("wb") as file:
        shutil.copyfileobj(remote, file, 1 << 20)
    copy = shard.target.removesuffix(".parquet") + ".tar"
    if not gone:
        copies.upload(source, copy)
        return gone
    found: set[str] = set()

    def goes(number: int, key: str) -> bool:
        if key in gone:
            found.add(key)
        return key in gone

    try:
        clean_tar(source, target, goes)
    except (tarfile.TarError, ValueError) as error:
        raise UserError(
            f"{url}: cannot be copied ({error}), so no cleaned copy was made of {shard.source}; "
            "mend the file or leave it out of the training set"
        ) from error
    copies.upload(target, copy)
    return found


def _folder(
    url: str, shard: Shard, gone: set[str], copies: Store, folder: Path
) -> tuple[set[str], list[str]]:
    """Copy the files of a folder but those of the keys ``gone``; returns which of these were there,
    and the names that are refused."""
    fs, path = split_url(url)
    found: set[str] = set()
    files, refused = files_at(fs, path)
    for name, info in files.items():
        parts = split_name(posixpath.basename(name))
        if parts and parts[0] in gone:
            found.add(parts[0])
            continue
        copy = folder / "copy"
        fs.get_file(info["name"], str(copy))
        copies.upload(copy, f"{shard.target.removesuffix('.parquet')}/{name}")
    return found, refused
