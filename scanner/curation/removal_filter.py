"""A filter for training code: which samples a removal list keeps."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scanner.curation.key_hashes import HASH, hash_keys, is_in, load_hashes
from scanner.curation.name_lists import read_names
from scanner.errors import UserError
from scanner.storage import Store

HASHES = "removed.npy"


class RemovalFilter:
    """Tell the samples that a removal list keeps from those that it removes.

    ``removed``: the directory of ``memscan curate --out`` or its ``removed.npy`` (128-bit hashes of
    keys, 16 bytes per removed sample, mapped into memory), or any list of keys or URLs (txt, csv,
    jsonl, parquet). ``by``: the field of a sample that has its key or URL, such as ``__key__``,
    ``uid`` or ``url``; dots lead into records (``json.uid``), also into undecoded JSON. Without
    ``by``, the samples are the keys themselves. Picklable, for the workers of a data loader.

    In WebDataset, Hugging Face datasets and PyTorch::

        webdataset.WebDataset(shards).select(RemovalFilter("curated", by="__key__"))
        dataset.filter(RemovalFilter("curated", by="key"))
        torch.utils.data.Subset(dataset, RemovalFilter("curated").kept(dataset.keys))

    Raises UserError if there is no list, and KeyError for a sample without the field.

    >>> from scanner import RemovalFilter
    >>> _ = open("removed.txt", "w").write("0001\\n0003\\n")
    >>> keep = RemovalFilter("removed.txt", by="__key__")
    >>> [sample["__key__"] for sample in [{"__key__": "0001"}, {"__key__": "0002"}] if keep(sample)]
    ['0002']
    """

    def __init__(self, removed: str | Path, by: str | None = None) -> None:
        self.removed, self.by = str(removed), by
        self._hashes = load_removed(self.removed)

    def __len__(self) -> int:
        """Return the number of removed keys."""
        return len(self._hashes)

    def __call__(self, sample: Any) -> bool:
        """Return whether to keep a sample."""
        return bool(self.keeps([self._key(sample)])[0])

    def keeps(self, keys: Iterable[Any]) -> np.ndarray:
        """Return for each of N keys or URLs whether to keep its sample (N,)."""
        texts = [key if isinstance(key, str) else str(key) for key in keys]
        return ~is_in(hash_keys(texts), self._hashes)

    def kept(self, keys: Iterable[Any]) -> list[int]:
        """Return the positions of the keys or URLs whose samples are kept."""
        return np.flatnonzero(self.keeps(keys)).tolist()

    def _key(self, sample: Any) -> Any:
        if self.by is None:
            if isinstance(sample, Mapping):
                raise KeyError("name the field that has the key: RemovalFilter(…, by='__key__')")
            return sample
        value = sample
        # A name with a dot may be a field's own.
        for name in [self.by] if self.by in sample else self.by.split("."):
            if isinstance(value, bytes):
                value = json.loads(value)
            if not isinstance(value, Mapping) or name not in value:
                raise KeyError(f"the sample has no field {self.by}; it has {_fields(sample)}")
            value = value[name]
        return value.decode() if isinstance(value, bytes) else value

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be pickled with its content.
        return {"removed": self.removed, "by": self.by}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["removed"], state["by"])  # type: ignore[misc]


def load_removed(removed: str) -> np.ndarray:
    """Return the sorted hashes of a list, mapped into memory if it is a local .npy file.

    Raises UserError.
    """
    if Path(removed, HASHES).exists():
        return load_hashes(str(Path(removed, HASHES)))
    if removed.endswith(".npy"):
        return load_hashes(removed)
    if "://" in removed and Store(removed, single_writer=True).exists(HASHES):
        return load_hashes(f"{removed.rstrip('/')}/{HASHES}")
    hashes = [np.empty(0, HASH)]
    for batch in read_names(removed, "RemovalFilter:"):
        for column in (batch["key"], batch["url"]):
            hashes.append(hash_keys(name for name in column.to_pylist() if name is not None))
        if batch["caption"].null_count < len(batch):
            raise UserError(
                f"{removed}: it names captions, which a filter cannot find samples by; use the "
                "lists that memscan curate --list makes of it"
            )
    return np.unique(np.concatenate(hashes))


def _fields(sample: Any) -> str:
    return ", ".join(map(str, sample)) if isinstance(sample, Mapping) else type(sample).__name__
