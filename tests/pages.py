"""Open pages in a real browser, from a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page


@contextmanager
def opened(browser: Browser, file: Path, scheme: str = "light") -> Iterator[Page]:
    """Open a page and wait for its charts; fail if it loads other URLs or logs errors."""
    page = browser.new_page(color_scheme=scheme)
    page.set_default_timeout(120_000)
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('.chart').length ==="
        " document.querySelectorAll('.chart svg.marks').length"
    )
    try:
        yield page
    finally:
        page.close()
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
    assert messages == []
