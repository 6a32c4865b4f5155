"""Render a report as one HTML file."""

from pathlib import Path
from typing import Any

from scanner.models.traits import JOINT_FAMILIES
from scanner.pages import THEMED, render
from scanner.report.charts import report_charts
from scanner.report.content import ReportContent
from scanner.report.shading import shade_captions

FOLDER = Path(__file__).parent


def render_report(
    content: ReportContent,
    tokenizer: Any | None,
    thumbnails: dict[str, dict[str, Any]],
    command: str,
) -> str:
    """Render one self-contained page. ``tokenizer``: the model's, to shade words; ``thumbnails``:
    by caption id; ``command``: shown as what created the page."""
    rows = [
        {**row, "spans": spans, "thumbnails": thumbnails.get(row["caption_id"])}
        for row, spans in zip(content.rows, shade_captions(content.rows, tokenizer), strict=True)
    ]
    extra = [
        name
        for name in ("noise_norm_low", "noise_norm_first", "entropy_e")
        if name != content.signal and any(row.get(name) is not None for row in rows)
    ]
    return render(
        FOLDER / "page.html.j2",
        [FOLDER / "table.js"],
        report=content,
        rows=rows,
        charts=report_charts(content, THEMED),
        unscored="; ".join(content.scanned.unscored),
        extra_signals=extra,
        joint=_has_joint_attention(content.record),
        shaded=tokenizer is not None,
        command=command,
    )


def _has_joint_attention(record: dict[str, Any]) -> bool:
    """Return whether the run's model has joint attention and is trained by flow matching."""
    fingerprint = record.get("fingerprint") or {}
    return fingerprint.get("family") in JOINT_FAMILIES
