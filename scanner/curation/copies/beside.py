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
from scanner.storage import Store, open_input, split_url

KEY = "key"


def clean_beside(shard: Shard, table: Path, removed: Sequence[int], copies: Store) -> None:
    """Copy a shard's images without those of the rows removed, by their keys in its table.

    Nothing to do where there are none. Raises UserError where a removed row has no image there.
    """
    keys = as_text(pq.read_table(table, columns=[KEY])[KEY].combine_chunks())
    places = pa.array(list(removed), pa.int64())
    gone = {key for key in keys.take(places).to_pylist() if key is not None}
    stem = shard.source.removesuffix(".parquet")
    filesystem, path = split_url(stem)
    with tempfile.TemporaryDirectory() as folder:
        if filesystem.exists(f"{path}.tar"):
            found = _tar(f"{stem}.tar", shard, gone, copies, Path(folder))
        elif filesystem.isdir(path):
            found = _folder(stem, shard, gone, copies, Path(folder))
        else:
            return
    if found != gone:
        raise UserError(
            f"{stem}: {len(gone - found):,} of the {len(gone):,} samples to remove have no image "
            f"there, such as {min(gone - found)}: not the files that img2dataset wrote with "
            f"{shard.source}"
        )


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


def _folder(url: str, shard: Shard, gone: set[str], copies: Store, folder: Path) -> set[str]:
    filesystem, path = split_url(url)
    found: set[str] = set()
    for name in filesystem.find(path):
        parts = split_name(posixpath.basename(name))
        if parts and parts[0] in gone:
            found.add(parts[0])
            continue
        copy = folder / "copy"
        filesystem.get_file(name, str(copy))
        copies.upload(copy, shard.target.removesuffix(".parquet") + name.removeprefix(path))
    return found
