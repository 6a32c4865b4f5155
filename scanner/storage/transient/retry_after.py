"""The header Retry-After: how long a store that throttles wants its clients to wait."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

# A store must not hold up a scan by naming a day.
LONGEST_SECONDS = 60.0


def retry_after(error: BaseException) -> float:
    """Return the seconds that the response behind an error asks to wait, at most 60; else 0."""
    for headers in (_own(error), _of_response(error), _of_boto(error)):
        for name, value in headers.items():
            if str(name).lower() == "retry-after":
                return seconds_of(str(value))
    return 0.0


def seconds_of(value: str) -> float:
    """Return the seconds of a header's value, a number or a date, from 0 to 60."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    # Not a number compares false.
    return min(LONGEST_SECONDS, seconds) if seconds > 0 else 0.0


def _own(error: BaseException) -> Mapping[str, object]:
    """Return the headers that errors of aiohttp and of retrying_gcs.py carry."""
    return _mapping(getattr(error, "headers", None))


def _of_response(error: BaseException) -> Mapping[str, object]:
    """Return those of the response that errors of Azure's client, httpx and requests carry."""
    return _mapping(getattr(getattr(error, "response", None), "headers", None))


def _of_boto(error: BaseException) -> Mapping[str, object]:
    response = getattr(error, "response", None)
    about = response.get("ResponseMetadata") if isinstance(response, dict) else None
    return _mapping(about.get("HTTPHeaders") if isinstance(about, dict) else None)


def _mapping(headers: object) -> Mapping[str, object]:
    return headers if isinstance(headers, Mapping) else {}
