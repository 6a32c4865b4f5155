"""adlfs with waits for outages, literal names, and listings that end where a folder ends."""

import errno
import os
from collections.abc import AsyncIterator
from typing import Any

from adlfs import AzureBlobFileSystem
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobProperties
from fsspec.asyn import sync_wrapper

from scanner.storage.azure_client import (
    account_in,
    account_of,
    connect,
    endpoint_of,
    raises_os_errors,
)
from scanner.storage.outage_wait import OutageWait
from scanner.storage.outages import FIRST_WAIT_SECONDS, RETRY_SECONDS
from scanner.storage.ranged_file import RangedFile, open_ranged

_SCHEMES = ("az://", "abfs://", "abfss://")
_EMPTY_RANGE = 416
_PAGE = 5000


class RetryingAzure(AzureBlobFileSystem):
    """Retry requests to Azure Blob Storage while an outage lasts
    (:class:`~scanner.storage.outage_wait.OutageWait`).

    Paths are literal: adlfs parses them as URLs, so that # and ? move, reads ``?versionid=``, and
    ignores spaces at the ends of a folder's name. All errors are of OSError's kinds.
    """

    def __init__(
        self,
        *arguments: Any,
        retry_seconds: float = RETRY_SECONDS,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        **options: Any,
    ) -> None:
        self._outages = OutageWait(retry_seconds, first_wait_seconds)
        self._url_account = options.pop("url_account", "")
        if self._url_account:
            options["account_name"] = self._url_account
        super().__init__(*arguments, **options)

    def do_connect(self) -> None:
        """Connect like the parent, with a client that waits for outages. Raises ValueError."""
        if not (self.connection_string or self.account_name):
            raise ValueError(
                "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and credentials"
            )
        connected = account_of(self.connection_string or "")
        if self._url_account and connected and connected != self._url_account:
            raise ValueError(
                f"the URL names the account {self._url_account}, AZURE_STORAGE_CONNECTION_STRING "
                f"{connected}; unset one of them"
            )
        host = getattr(self, "account_host", f"{self.account_name}.blob.core.windows.net")
        credential = self.credential or self.account_key or self.sas_token
        self.service_client = connect(
            self._outages, self.connection_string, f"https://{host}", credential
        )

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        for scheme in _SCHEMES:
            if path.startswith(scheme):
                container, slash, key = path.removeprefix(scheme).partition("/")
                return container.partition("@")[0] + slash + key
        return path.lstrip("/")

    @staticmethod
    def _get_kwargs_from_urls(urlpath: str) -> dict[str, Any]:
        account = account_in(urlpath)
        return {"url_account": account} if account else {}

    def unstrip_protocol(self, name: str) -> str:
        """Return a path as a URL, with the account if a URL named it."""
        container, slash, key = self._strip_protocol(name).partition("/")
        account = f"@{self._url_account}.dfs.core.windows.net" if self._url_account else ""
        return f"abfs://{container}{account}{slash}{key}"

    def split_path(self, path: str, delimiter: str = "/", **_: Any) -> tuple[str, str, None]:
        """Return container and key; no version."""
        container, _, key = self._strip_protocol(path).partition("/")
        return container, key, None

    # -- listings ------------------------------------------------------------------------------

    @raises_os_errors
    async def _info(self, path: str, **options: Any) -> dict[str, Any]:
        container, key, _ = self.split_path(path)
        try:
            if not key:
                async with self.service_client.get_container_client(container) as client:
                    await client.get_container_properties()
                return _folder(container)
            async with self.service_client.get_blob_client(container, key) as blob:
                return _entry(container, await blob.get_blob_properties())
        except ResourceNotFoundError:
            if key and await self._has_blobs(container, f"{key}/"):
                return _folder(f"{container}/{key}")
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    @raises_os_errors
    async def _ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        """Return the entries of a folder, or a file's own. Raises FileNotFoundError."""
        path = self._strip_protocol(path).rstrip("/")
        container, key, _ = self.split_path(path)
        async with self.service_client.get_container_client(container) as client:
            blobs = client.walk_blobs(
                f"{key}/" if key else None, ["metadata"], "/", results_per_page=_PAGE
            )
            found = [_entry(container, blob) async for blob in blobs]
        if not found and key:
            found = [await self._info(path)]
        return found if detail else [entry["name"] for entry in found]

    @raises_os_errors
    async def _find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **options: Any,
    ) -> Any:
        """Return the entries below a folder, as deep as ``maxdepth``, or a file's own."""
        path = self._strip_protocol(path).rstrip("/")
        container, key, _ = self.split_path(path)
        prefix = f"{key}/" if key else ""
        found: dict[str, dict[str, Any]] = {}
        try:
            async for blob in self._blobs(container, prefix, _PAGE):
                entry = _entry(container, blob)
                if withdirs:
                    found.update(_folders_between(path, entry["name"]))
                if withdirs or entry["type"] == "file":
                    found[entry["name"]] = entry
            own = {} if found or not key else await self._info(path)
            if own.get("type") == "file":
                found[path] = own
        except (ResourceNotFoundError, FileNotFoundError):
            return {} if detail else []
        kept = {
            name: found[name]
            for name in sorted(found)
            if maxdepth is None or name.count("/") <= path.count("/") + maxdepth
        }
        return kept if detail else list(kept)

    async def _exists(self, path: str, **_: Any) -> bool:
        try:
            await self._info(path)
        except FileNotFoundError:
            return False
        return True

    async def _isfile(self, path: str) -> bool:
        return await self._is_of("file", path)

    async def _isdir(self, path: str) -> bool:
        return await self._is_of("directory", path)

    async def _is_of(self, kind: str, path: str) -> bool:
        try:
            return (await self._info(path))["type"] == kind
        except FileNotFoundError:
            return False

    async def _blobs(self, container: str, prefix: str, page: int) -> AsyncIterator[BlobProperties]:
        async with self.service_client.get_container_client(container) as client:
            async for blob in client.list_blobs(prefix, ["metadata"], results_per_page=page):
                yield blob

    async def _has_blobs(self, container: str, prefix: str) -> bool:
        async for _ in self._blobs(container, prefix, 1):
            return True
        return False

    # -- files ---------------------------------------------------------------------------------

    @raises_os_errors
    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        """Return a file's bytes; none for a range that starts behind its end."""
        parent = super()._cat_file

        async def read() -> bytes:
            return await parent(path, start=start, end=end, **options)

        try:
            # The client itself gives up after three broken connections while it reads a body.
            endpoint = endpoint_of(self.service_client.url)
            return await self._outages.wait_out(read, lambda: endpoint, path)
        except HttpResponseError as error:
            if error.status_code != _EMPTY_RANGE:
                raise
            return b""

    @raises_os_errors
    async def _pipe_file(self, path: str, value: bytes, **options: Any) -> Any:
        return await super()._pipe_file(path, value, **options)

    async def _put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        await self._upload(rpath, lpath, **options)

    @raises_os_errors
    async def _upload(self, rpath: str, lpath: str, **options: Any) -> None:
        await super()._put_file(lpath, rpath, **options)

    @raises_os_errors
    async def _get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        await super()._get_file(rpath, lpath, **options)

    @raises_os_errors
    async def _rm_file(self, path: str, **options: Any) -> None:
        """Remove a file; one that is gone may have been removed by a request whose response was
        lost, and is not an error, as on S3."""
        try:
            await super()._rm_file(path, **options)
        except FileNotFoundError:
            return

    # The parent's attributes are bound to the parent's methods.
    pipe_file = sync_wrapper(_pipe_file)
    put_file = sync_wrapper(_put_file)
    get_file = sync_wrapper(_get_file)
    rm_file = sync_wrapper(_rm_file)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> RangedFile:
        return open_ranged(self, path, mode, options)


def _entry(container: str, blob: Any) -> dict[str, Any]:
    """Return a listed blob or prefix as fsspec describes files and directories."""
    name = f"{container}/{blob.name}"
    marks = {name.lower(): value for name, value in (getattr(blob, "metadata", None) or {}).items()}
    # Accounts with a hierarchical namespace list a blob for each directory.
    if not isinstance(blob, BlobProperties) or marks.get("hdi_isfolder") == "true":
        return _folder(name.rstrip("/"))
    return {
        "name": name,
        "type": "file",
        "size": blob.size,
        "etag": f'"{(blob.etag or "").strip(chr(34))}"',
        "last_modified": blob.last_modified,
    }


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "type": "directory", "size": 0}


def _folders_between(root: str, name: str) -> dict[str, dict[str, Any]]:
    """Return the folders below a root that lead to a name."""
    parts = name.removeprefix(f"{root}/").split("/")[:-1]
    tops = ("/".join([root, *parts[: end + 1]]) for end in range(len(parts)))
    return {top: _folder(top) for top in tops}
