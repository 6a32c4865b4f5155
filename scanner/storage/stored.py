"""A file of a listing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of a listing: its size in bytes, and the store's checksum ("" on a disk).

    An ETag is opaque, since encryption and copies change it: equal ones mean equal content, others
    mean nothing.
    """

    size: int
    etag: str = ""


def checksum_of(about: Mapping[str, Any]) -> str:
    """Return the checksum in a store's description of a file, "" if there is none.

    S3: the ETag; Google Cloud Storage: the MD5, or the ETag of a composed object; Azure: the ETag.
    """
    return str(about.get("ETag") or about.get("md5Hash") or about.get("etag") or "")
