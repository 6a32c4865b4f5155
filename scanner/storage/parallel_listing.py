"""List a large folder of an S3 bucket with several requests at a time.

S3 returns 1,000 names per page, and only a page says where the next one starts: a plain listing of
a million names waits for a thousand requests one after another. The names of commits and parts
begin with digits. What follows a page is therefore listed by the next digit: the rest of the last
name's, those of the digits after it, and at last whatever is not a digit.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from xml.etree import ElementTree

from scanner.storage.stored import Stored

LISTERS = 16
PAGE_NAMES = 1000
DIGITS = "0123456789"
OK = 200
# Makes one request: the arguments of list_objects_v2 → its response.
RequestPage = Callable[..., Awaitable[dict[str, Any]]]


async def list_folder(request_page: RequestPage, folder: str) -> dict[str, Stored]:
    """Return the objects of a folder by key, in no order; ``folder``: its keys' prefix.

    Makes at most ``LISTERS`` requests at a time; one if a page holds all names.
    """
    found: dict[str, Stored] = {}
    has_room = asyncio.Semaphore(LISTERS)

    async def list_prefix(prefix: str, after: str = "", splits: bool = True) -> None:
        """List the keys with a prefix, from the one after ``after``."""
        start = {"StartAfter": after} if after else {}
        while True:
            async with has_room:
                page = await request_page(Prefix=prefix, Delimiter="/", MaxKeys=PAGE_NAMES, **start)
            for entry in page.get("Contents", ()):
                found[entry["Key"]] = Stored(entry["Size"], entry.get("ETag", ""))
            if not page.get("IsTruncated"):
                return
            last = _last_key(page)
            digit = last[len(prefix) : len(prefix) + 1]
            if splits and last.startswith(prefix) and digit and digit in DIGITS:
                break
            start = {"ContinuationToken": page["NextContinuationToken"]}
        later = DIGITS[DIGITS.index(digit) + 1 :]
        await _gather(
            list_prefix(prefix + digit, last),
            *(list_prefix(prefix + other) for other in later),
            list_prefix(prefix, f"{prefix}9~", splits=False),
        )

    await list_prefix(folder)
    return found


def _last_key(page: dict[str, Any]) -> str:
    """Return the last key of a page, or the last folder if that is later."""
    keys = [entry["Key"] for entry in page.get("Contents", ())[-1:]]
    keys += [entry["Prefix"] for entry in page.get("CommonPrefixes", ())[-1:]]
    return max(keys, key=str.encode, default="")


async def _gather(*calls: Awaitable[None]) -> None:
    """Wait for all calls; if one fails, cancel the others."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


def read_entries(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Read the entries of a page, for botocore's event before-parse.

    botocore takes 20 times as long for a page, mostly for the times of its entries, which nobody
    reads here: as long as S3 takes to answer.
    """
    if response_dict["status_code"] != OK:
        return
    try:
        page = ElementTree.fromstring(response_dict["body"])
    except ElementTree.ParseError:
        return  # botocore raises its own error
    space = page.tag.rpartition("}")[0] + "}" if "}" in page.tag else ""
    entries = page.findall(f"{space}Contents")
    customized_response_dict["Contents"] = [
        {
            "Key": entry.findtext(f"{space}Key", ""),
            "Size": int(entry.findtext(f"{space}Size", "0")),
            "ETag": entry.findtext(f"{space}ETag", ""),
        }
        for entry in entries
    ]
    for entry in entries:
        page.remove(entry)
    response_dict["body"] = ElementTree.tostring(page)
