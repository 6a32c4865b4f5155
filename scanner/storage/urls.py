"""URLs and local paths: filesystem, full form, and refusal of secrets."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import fsspec
from fsspec.implementations.local import LocalFileSystem

from scanner.credentials import secret_in
from scanner.errors import UserError

# Other fsspec protocols read further locations (chains, archives, code) or run commands.
SCHEMES = (
    *("file", "s3", "s3a", "http", "https"),
    *("gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "hf", "memory"),
)
_GOOGLE, _AZURE = ("gs", "gcs"), ("az", "abfs", "abfss")
_EXTRAS = {**dict.fromkeys(_GOOGLE, "gcs"), **dict.fromkeys(_AZURE, "azure")}
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


def split_url(url: str) -> tuple[Any, str]:
    """Return the filesystem of a URL or local path, and the path in it.

    Listings are not cached: at resume, an old one makes finished work look missing. Only those of
    the hub are, whose inputs are pinned to a commit.

    A path is taken literally: fsspec chains (``a::b``) are ordinary names. A ``file://`` URL may be
    percent-encoded (see :func:`url_of`). Raises UserError for a scheme not in SCHEMES, for a NUL
    character or invalid Unicode, and for a URL with credentials, without repeating them.
    """
    refuse_credentials(url)
    if "\0" in url:
        raise UserError(f"{url!r}: a location must not contain a NUL character")
    _refuse_invalid_unicode(url)
    if url.startswith(("s3://", "s3a://")):
        from scanner.storage.retrying_s3 import RetryingS3

        for name in _ENDPOINTS:
            refuse_credentials(os.environ.get(name, ""), f"{name} ")
        options = RetryingS3._get_kwargs_from_urls(url)
        fs = RetryingS3(use_listings_cache=False, skip_instance_cache=True, **options)
        return fs, fs._strip_protocol(url).rstrip("/")
    protocol, is_url, rest = url.partition("://")
    if not is_url or protocol == "file":
        return LocalFileSystem(), _decoded(rest) if is_url else _absolute(url)
    if protocol not in SCHEMES:
        raise UserError(
            f"{url}: {protocol}:// is not supported; use a local path or one of "
            f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}"
        )
    uncached = {} if protocol == "hf" else {"use_listings_cache": False}
    try:
        kind = _filesystem_class(protocol)
        fs = kind(**uncached, **kind._get_kwargs_from_urls(url))
        path = kind._strip_protocol(url)
    except (ValueError, ImportError) as error:
        raise UserError(
            f"{url}: cannot open this kind of location: {error}{_install(protocol, error)}"
        ) from error
    return fs, path.rstrip("/")


def _install(protocol: str, error: Exception) -> str:
    """Return the command that installs what a scheme needs, "" if nothing is missing."""
    if not isinstance(error, ImportError) or protocol not in _EXTRAS:
        return ""
    return f"; pip install 'memorization-scanner[{_EXTRAS[protocol]}]'"


def _refuse_invalid_unicode(url: str) -> None:
    """Raise UserError for lone surrogates, except bytes of a local name that is not UTF-8."""
    protocol, is_url, _ = url.partition("://")
    is_local_name = not is_url or protocol == "file"
    try:
        url.encode(errors="surrogateescape" if is_local_name else "strict")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{url!a}: a location must be valid Unicode; percent-encode other bytes in a URL"
        ) from error


def _filesystem_class(protocol: str) -> Any:
    if protocol in ("http", "https"):
        from scanner.storage.http import ContainedHttp

        return ContainedHttp
    if protocol in _GOOGLE:
        from scanner.storage.retrying_gcs import RetryingGCS

        return RetryingGCS
    if protocol in _AZURE:
        from scanner.storage.retrying_azure import RetryingAzure

        return RetryingAzure
    return fsspec.get_filesystem_class(protocol)


def _absolute(path: str) -> str:
    return str(local_path(path).absolute())


def local_path(name: str) -> Path:
    """Return a local path; ``~user`` expands only if that user exists and no file has the name."""
    path = Path(name)
    try:
        return path if os.path.lexists(path) else path.expanduser()
    except RuntimeError:
        return path


def _decoded(path: str) -> str:
    """Return the path of a file:// URL; percent-decoded only if no file has the literal name."""
    literal = _absolute(path)
    decoded = os.fsdecode(unquote_to_bytes(os.fsencode(literal)))
    if os.path.lexists(literal):
        return literal
    # A name that is not UTF-8 was encoded by url_of, whether it exists or not.
    return decoded if os.path.lexists(decoded) or not _is_utf8(decoded) else literal


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_credentials(url: str, where: str = "") -> None:
    """Raise UserError if a URL contains a password, or a signature, token or key as a parameter."""
    if secret := secret_in(url):
        raise UserError(
            f"{where}{url.split('://')[0]}://***: {secret} in a URL would end up in tables and "
            "logs; pass it through the environment (AWS_ACCESS_KEY_ID …) or the store's "
            "configuration"
        )


def full_url(url: str) -> str:
    """Return a URL unchanged, or a local path made absolute."""
    fs, path = split_url(url)
    return url_of(fs, path)


def url_of(fs: Any, path: str) -> str:
    """Return a path as users write it: a local path unchanged, others with their protocol.

    A local name that is not UTF-8 becomes a percent-encoded ``file://`` URL, which is valid text.
    """
    if not is_local(fs):
        return fs.unstrip_protocol(path)
    return path if _is_utf8(path) else "file://" + quote(os.fsencode(path))


def is_local(fs: Any) -> bool:
    return isinstance(fs, fsspec.get_filesystem_class("file"))


def missing_bucket(fs: Any, path: str) -> str:
    """Return a message if the store reports that the bucket does not exist; else ""."""
    bucket = path.partition("/")[0]
    if not (is_s3(fs) or is_gcs(fs) or is_azure(fs)) or fs.exists(bucket):
        return ""
    kind = "container" if is_azure(fs) else "bucket"
    return f"{kind} {bucket} does not exist, or it may not be listed"


def is_s3(fs: Any) -> bool:
    return _protocol(fs) in ("s3", "s3a")


def is_gcs(fs: Any) -> bool:
    return _protocol(fs) in _GOOGLE


def is_azure(fs: Any) -> bool:
    return _protocol(fs) in _AZURE


def is_http(fs: Any) -> bool:
    return _protocol(fs) in ("http", "https")


def _protocol(fs: Any) -> str:
    return fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
