"""Render a report as one HTML file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scanner.models.traits import JOINT_FAMILIES
from scanner.pages import THEMED, VIEWER, render
from scanner.report.charts import report_charts
from scanner.report.content import ReportContent
from scanner.report.facets import facets_of
from scanner.report.shading import TextSpan, shade_captions
from scanner.report.thumbnails import NO_THUMBNAILS, Thumbnails

FOLDER = Path(__file__).parent
# Maximum size of a page of up to 1,999 captions, images included; longer pages get this per
# PAGE_CAPTIONS.
PAGE_BYTES = 4_900_000
PAGE_CAPTIONS = 1000
# The rest of a longer caption is left out.
CAPTION_LENGTH = 2000


def render_report(
    content: ReportContent,
    tokenizer: Any | None,
    command: str,
    thumbnails: Callable[[int], Thumbnails] = lambda _: NO_THUMBNAILS,
) -> str:
    """Render one self-contained page.

    ``tokenizer``: the model's, to shade words; ``command``: shown as what created the page;
    ``thumbnails``: returns images of at most that many bytes, which the page has room for.
    """
    shaded = shade_captions(content.rows, tokenizer)
    texts = [
        {"spans": spans, "more": left_out}
        for spans, left_out in (_shorten(spans, CAPTION_LENGTH) for spans in shaded)
    ]
    facets = facets_of(content.rows)
    signals = ("noise_norm_low", "noise_norm_first", "entropy_e")
    values = {
        "report": content,
        "charts": report_charts(content, THEMED),
        "facets": facets,
        "unscored": "; ".join(content.scanned.unscored),
        "extra_signals": [
            name
            for name in signals
            if name != content.signal and any(row.get(name) is not None for row in content.rows)
        ],
        "joint": _has_joint_attention(content.record),
        "shaded": tokenizer is not None,
        "command": command,
    }

    def page(images: Thumbnails) -> str:
        rows = [
            {**row, **text, "images": images.captions.get(row["caption_id"])}
            for row, text in zip(content.rows, texts, strict=True)
        ]
        scripts = [VIEWER, FOLDER / "table.js"]
        return render(FOLDER / "page.html.j2", scripts, rows=rows, thumbnails=images, **values)

    most = PAGE_BYTES * max(1, len(content.rows) // PAGE_CAPTIONS)
    plain = page(NO_THUMBNAILS)
    images = thumbnails(max(0, most - len(plain.encode())))
    return page(images) if images.captions or images.left_out else plain


def _shorten(spans: list[TextSpan], length: int) -> tuple[list[TextSpan], int]:
    """Return the spans of the first characters of a caption, and the number of those left out."""
    kept = []
    for span in spans:
        if length > 0:
            kept.append(TextSpan(span.text[:length], span.level, span.trigger))
        length -= len(span.text)
    return kept, max(0, -length)


def _has_joint_attention(record: dict[str, Any]) -> bool:
    """Return whether the run's model has joint attention and is trained by flow matching."""
    fingerprint = record.get("fingerprint") or {}
    return fingerprint.get("family") in JOINT_FAMILIES
