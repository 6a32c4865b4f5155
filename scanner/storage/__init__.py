"""All file I/O: local paths and fsspec URLs. The only room that uses fsspec."""

from scanner.storage.downloads import download, files_at
from scanner.storage.image_hosts import ImageHosts, Missing
from scanner.storage.inputs import bare_name, compression_of, fetch, open_input
from scanner.storage.listing import Listing
from scanner.storage.literal_files import LiteralFiles
from scanner.storage.names import UnsafeName, why_unsafe
from scanner.storage.outages import (
    StoreOutage,
    is_transient,
    mark_transient,
    raises_outages,
    retry_outages,
)
from scanner.storage.roots import Roots
from scanner.storage.store import Store
from scanner.storage.stored import Stored
from scanner.storage.urls import full_url, local_path, split_url
from scanner.storage.walking import Skipped, skipped_lines

__all__ = [
    "ImageHosts",
    "Listing",
    "LiteralFiles",
    "Missing",
    "Roots",
    "Skipped",
    "Store",
    "StoreOutage",
    "Stored",
    "UnsafeName",
    "bare_name",
    "compression_of",
    "download",
    "fetch",
    "files_at",
    "full_url",
    "is_transient",
    "local_path",
    "mark_transient",
    "open_input",
    "raises_outages",
    "retry_outages",
    "skipped_lines",
    "split_url",
    "why_unsafe",
]
