"""The images of img2dataset's tables, stored next to each table in a tar or folder of its name."""

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


def clean_sidecar(
    shard: Shard, table: Path, removed: Sequence[int], copies: Store, roots: Roots
) -> list[str]:
    """Copy a shard's images, if it has any, without those of the removed rows.

    Images are identified by the keys in the shard's table. Returns the refused names: those that
    point outside of the shard's folder. Raises UserError if a removed row has no image, or if the
    tar or folder is a link to outside of ``roots``.
    """
    keys = as_text(pq.read_table(table, columns=[KEY])[KEY].combine_chunks())
    rows = pa.array(list(removed), pa.int64())
    removed_keys = {key for key in keys.take(rows).to_pylist() if key is not None}
    stem = shard.source.removesuffix(".parquet")
    fs, path = split_url(stem)
    tar = f"{stem}.tar"
    refused: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if fs.exists(f"{path}.tar"):
            _refuse_link(roots, tar)
            seen = _copy_tar(tar, shard, removed_keys, copies, Path(folder))
        elif fs.isdir(path):
            _refuse_link(roots, stem)
            seen, refused = _copy_folder(stem, shard, removed_keys, copies, Path(folder))
        else:
            return []
    if missing := removed_keys - seen:
        raise UserError(
            f"{stem}: {len(missing):,} of the {len(removed_keys):,} samples to remove have no "
            f"image there, such as {min(missing)}; restore the files that img2dataset wrote with "
            f"{shard.source}"
        )
    return refused


def _refuse_link(roots: Roots, url: str) -> None:
    if why := roots.why_sidecar_refused(url):
        raise UserError(f"{url} is refused: {why}; to allow it, pass its directory as --input-root")


def _copy_tar(url: str, shard: Shard, removed: set[str], copies: Store, folder: Path) -> set[str]:
    """Copy a tar without the samples of the keys ``removed``; return which of these it had."""
    source, target = folder / "source.tar", folder / "target.tar"
    with open_input(url) as remote, source.open("wb") as file:
        shutil.copyfileobj(remote, file, 1 << 20)
    copy = shard.target.removesuffix(".parquet") + ".tar"
    if not removed:
        copies.upload(source, copy)
        return removed
    seen: set[str] = set()

    def is_removed(number: int, key: str) -> bool:
        if key in removed:
            seen.add(key)
        return key in removed

    try:
        clean_tar(source, target, is_removed)
    except (tarfile.TarError, ValueError) as error:
        raise UserError(
            f"{url}: cannot be copied ({error}), so no cleaned copy was made of {shard.source}; "
            "fix the file or remove it from the training set"
        ) from error
    copies.upload(target, copy)
    return seen


def _copy_folder(
    url: str, shard: Shard, removed: set[str], copies: Store, folder: Path
) -> tuple[set[str], list[str]]:
    """Copy a folder's files without those of the keys ``removed``; return which of these it had,
    and the refused names."""
    fs, path = split_url(url)
    seen: set[str] = set()
    files, refused = files_at(fs, path)
    for name, info in files.items():
        parts = split_name(posixpath.basename(name))
        if parts and parts[0] in removed:
            seen.add(parts[0])
            continue
        copy = folder / "copy"
        fs.get_file(info["name"], str(copy))
        copies.upload(copy, f"{shard.target.removesuffix('.parquet')}/{name}")
    return seen, refused
