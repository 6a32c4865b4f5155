"""s3fs with retries: every request waits for an outage to end."""

import functools
import io
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

from aiobotocore.session import AioSession
from botocore.exceptions import HTTPClientError
from botocore.loaders import Loader, create_loader
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from scanner.storage.counts import count_request
from scanner.storage.outage_wait import OutageWait
from scanner.storage.outages import FIRST_WAIT_SECONDS, RETRY_SECONDS
from scanner.storage.parallel_listing import list_folder, read_entries
from scanner.storage.stored import Stored

_lists_folder: ContextVar[bool] = ContextVar("lists_folder", default=False)


def make_session(**options: Any) -> AioSession:
    """Return a session that shares botocore's descriptions of S3 with this process's others."""
    session = AioSession(**options)
    data_path = session.get_config_variable("data_path")
    session.register_component("data_loader", _descriptions(data_path))
    return session


@functools.cache
def _descriptions(data_path: str | None) -> Loader:
    """Return a loader that keeps botocore's JSON files, which take 0.2 seconds to parse."""
    return create_loader(data_path)


class RetryingS3(S3FileSystem):
    """Retry S3 requests while an outage lasts (:class:`~scanner.storage.outage_wait.OutageWait`).

    A request is one call of the store's interface including the body of its response: a page of a
    listing, a range of a file, a part of an upload. Open files, long uploads and DuckDB therefore
    retry too. Within each attempt botocore makes its own, five in about 8 seconds
    (AWS_MAX_ATTEMPTS); an endpoint that has never responded to this process gets only these.
    """

    # s3fs would multiply our attempts by its own, which give up after a second in total.
    retries = 1
    session: Any

    def __init__(
        self,
        *arguments: Any,
        retry_seconds: float = RETRY_SECONDS,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._outages = OutageWait(retry_seconds, first_wait_seconds)
        self._reads_pages: Any = None

    def split_path(self, path: str) -> tuple[str, str, str | None]:
        """Return bucket, key and version; ``?versionId=`` names a version only if the location that
        was opened has it, and is part of a listed key otherwise."""
        bucket, key, version = super().split_path(path)
        if not key or self.version_aware:
            return bucket, key, version
        trail = path[len(path.rstrip("/")) :]
        bucket, key = self._find_bucket_key(self._strip_protocol(path).lstrip("/"))
        return bucket, key + trail, None

    async def _call_s3(self, method: str, *options: Any, **arguments: Any) -> Any:
        return await self._outages.wait_out(
            lambda: self._request(method, *options, **arguments),
            self._endpoint,
            _location(arguments),
        )

    # The parent's attribute is bound to the parent's _call_s3.
    call_s3 = sync_wrapper(_call_s3)

    async def set_session(self, refresh: bool = False, kwargs: Any = {}) -> Any:  # noqa: B006
        """Connect like the parent, and read the pages of large folders faster than botocore."""
        if self.session is None:
            self.session = make_session(**self.kwargs)
        client = await super().set_session(refresh, kwargs)
        if client is not self._reads_pages:
            client.meta.events.register("before-parse.s3.ListObjectsV2", _read_page)
            self._reads_pages = client
        return client

    async def _list_folder(self, path: str) -> dict[str, Stored]:
        """Return the files in a folder by their names in it; large folders are listed in parallel.

        Raises FileNotFoundError without the bucket.
        """
        bucket, key, _ = self.split_path(path)
        _lists_folder.set(True)  # in this task and those that it starts
        request_page = functools.partial(
            self._call_s3, "list_objects_v2", Bucket=bucket, **self.req_kw
        )
        found = await list_folder(request_page, f"{key}/" if key else "")
        # S3 consoles mark a folder with an empty object of its name.
        names = {name.rsplit("/", 1)[-1]: file for name, file in found.items()}
        return {name: file for name, file in names.items() if name}

    list_folder = sync_wrapper(_list_folder)

    async def _request(self, method: str, *options: Any, **arguments: Any) -> Any:
        count_request(method)
        try:
            return await self._answer(method, *options, **arguments)
        except HTTPClientError as error:
            # The request's headers can contain a session token, and Ray pickles errors with them.
            error.request = None
            raise

    async def _answer(self, method: str, *options: Any, **arguments: Any) -> Any:
        answer = await super()._call_s3(method, *options, **arguments)
        if method == "get_object":
            # Read the body here, where a broken connection is retried, if s3fs would read it at
            # once; it drops the body of a longer object to read that by ranges.
            length = answer.get("ContentLength") or 0
            if "Range" in arguments or length <= self.default_block_size:
                body = answer["Body"]
                try:
                    answer["Body"] = _Body(await body.read())
                finally:
                    body.close()
        return answer

    def _endpoint(self) -> str:
        return str(self._s3.meta.endpoint_url) if self._s3 is not None else ""

    async def _walk(
        self, path: str, maxdepth: int | None = None, on_error: Any = None, **options: Any
    ) -> AsyncIterator[Any]:
        """Walk like the parent, but raise for a folder that cannot be listed."""
        walk = super()._walk(path, maxdepth, on_error=on_error or _raise_unless_missing, **options)
        async for found in walk:
            yield found


def _read_page(**event: Any) -> None:
    if _lists_folder.get():
        read_entries(**event)


def _location(arguments: dict[str, Any]) -> str:
    """Return the bucket and key of a request as a URL."""
    return "s3://" + "/".join(
        str(arguments[name]) for name in ("Bucket", "Key") if name in arguments
    )


class _Body:
    """A response body that has been read."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    async def read(self, amount: int = -1) -> bytes:
        return self._data.read(amount)

    def close(self) -> None:
        self._data.close()


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
