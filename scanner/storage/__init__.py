"""Every byte that is read or written goes through here: local paths and any fsspec URL."""

from scanner.storage.inputs import expand, fetch, open_input
from scanner.storage.literal_files import LiteralFiles
from scanner.storage.outages import is_transient
from scanner.storage.store import Store
from scanner.storage.urls import full_url, split_url

__all__ = [
    "LiteralFiles",
    "Store",
    "expand",
    "fetch",
    "full_url",
    "is_transient",
    "open_input",
    "split_url",
]
