"""A file of a listing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of a listing: its size in bytes, and the store's checksum (S3: the ETag; disk: "").

    An ETag is opaque, since encryption and copies change it: equal ones mean equal content, others
    mean nothing.
    """

    size: int
    etag: str = ""
