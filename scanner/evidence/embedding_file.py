"""A copy-detection embedding by location and hash."""

from dataclasses import dataclass

from scanner.errors import UsageError


@dataclass(frozen=True)
class EmbeddingFile:
    """The file that --embedding names, pinned by --embedding-sha256."""

    url: str
    sha256: str


def embedding_of(url: str | None, sha256: str | None) -> EmbeddingFile | None:
    """Return the embedding that the options name; None: the built-in one. Raises UsageError."""
    if (url is None) != (sha256 is None):
        raise UsageError(
            "--embedding and --embedding-sha256 go together: the hash of the file that you trust "
            "pins what is run"
        )
    return EmbeddingFile(url, sha256) if url and sha256 else None
