"""Pages as a person sees them: in a real browser, from a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page


@contextmanager
def opened(browser: Browser, file: Path, scheme: str = "light") -> Iterator[Page]:
    """The page with its charts drawn. It asks for nothing but itself, and complains of nothing."""
    page = browser.new_page(color_scheme=scheme)
    page.set_default_timeout(120_000)
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('.chart').length ==="
        " document.querySelectorAll('.chart svg.marks').length"
    )
    try:
        yield page
    finally:
        page.close()
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert complaints == []
