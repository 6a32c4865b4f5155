"""Every byte that is read or written goes through here: local paths and any fsspec URL."""

from scanner.storage.image_hosts import ImageHosts, Missing
from scanner.storage.inputs import bare_name, compression_of, fetch, open_input
from scanner.storage.listing import Listing
from scanner.storage.literal_files import LiteralFiles
from scanner.storage.outages import is_transient
from scanner.storage.store import Store
from scanner.storage.urls import full_url, split_url
from scanner.storage.walking import Skipped, skipped_lines

__all__ = [
    "ImageHosts",
    "Listing",
    "LiteralFiles",
    "Missing",
    "Skipped",
    "Store",
    "bare_name",
    "compression_of",
    "fetch",
    "full_url",
    "is_transient",
    "open_input",
    "skipped_lines",
    "split_url",
]
