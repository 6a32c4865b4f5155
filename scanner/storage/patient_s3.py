"""s3fs with patience: every request, whoever makes it, waits an outage out."""

import asyncio
import io
import itertools
import random
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from botocore.exceptions import HTTPClientError
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from scanner.storage.complaints import mark_storage
from scanner.storage.outages import answered, is_transient, mark_transient

PATIENCE_SECONDS = 120.0
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 10.0


class PatientS3(S3FileSystem):
    """S3 whose requests are retried for PATIENCE_SECONDS after their first transient failure.

    A request is one call of the store's interface together with the body of its answer: a page of
    a listing, a range of a file, a part of an upload. So an opened file, a long upload and DuckDB
    are patient too. Within each attempt botocore makes its own, five in about 8 seconds
    (AWS_MAX_ATTEMPTS); an endpoint that this process has never had an answer from gets these only,
    since it is most likely misspelt.
    """

    # s3fs would multiply our attempts by its own, which give up after a second in all.
    retries = 1
    _answering: ClassVar[set[str]] = set()

    async def _call_s3(self, method: str, *options: Any, **arguments: Any) -> Any:
        deadline = 0.0
        for attempt in itertools.count():
            try:
                answer = await self._request(method, *options, **arguments)
                self._answering.add(self._endpoint())
                return answer
            except Exception as error:
                failure = error
            mark_storage(failure, _place(arguments))
            # Outside of the clause above, so that a later error does not name this as its context.
            # The request's headers can hold a session token, and Ray pickles errors with all of it.
            if isinstance(failure, HTTPClientError):
                failure.request = None
            if answered(failure):
                self._answering.add(self._endpoint())
            if not is_transient(failure):
                raise failure
            wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**attempt)
            wait *= random.uniform(0.5, 1)  # workers that failed together shall not return together
            now = time.monotonic()
            deadline = deadline or now + PATIENCE_SECONDS
            if self._endpoint() not in self._answering or now + wait > deadline:
                mark_transient(failure)
                raise failure
            await asyncio.sleep(wait)

    # The parent's is bound to the parent's _call_s3.
    call_s3 = sync_wrapper(_call_s3)

    async def _request(self, method: str, *options: Any, **arguments: Any) -> Any:
        answer = await super()._call_s3(method, *options, **arguments)
        if method == "get_object":
            # What s3fs reads in one go is read here, where a broken connection is retried; it
            # drops the body of a longer object, to get that in ranges.
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
        """As the parent's, but a folder that cannot be listed is an error, not an empty one."""
        walk = super()._walk(path, maxdepth, on_error=on_error or _raise_unless_missing, **options)
        async for found in walk:
            yield found


def _place(arguments: dict[str, Any]) -> str:
    """What a request is about, as a URL."""
    return "s3://" + "/".join(
        str(arguments[name]) for name in ("Bucket", "Key") if name in arguments
    )


class _Body:
    """The body of an answer, read already."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    async def read(self, amount: int = -1) -> bytes:
        return self._data.read(amount)

    def close(self) -> None:
        self._data.close()


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
