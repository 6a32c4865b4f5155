"""The report as one HTML file."""

from pathlib import Path
from typing import Any

from scanner.pages import THEMED, render
from scanner.report.charts import charts
from scanner.report.content import Content
from scanner.report.words import pieces

HERE = Path(__file__).parent


def page(
    found: Content, tokenizer: Any | None, pictures: dict[str, dict[str, Any]], command: str
) -> str:
    """One self-contained page. ``tokenizer``: the model's, to shade words; ``pictures``: small
    ones by caption id; ``command``: what made it."""
    shown = [
        {**row, "pieces": cut, "pictures": pictures.get(row["caption_id"])}
        for row, cut in zip(found.rows, pieces(found.rows, tokenizer), strict=True)
    ]
    return render(
        HERE / "page.html.j2",
        [HERE / "table.js"],
        found=found,
        rows=shown,
        charts=charts(found, THEMED),
        unscored="; ".join(found.scanned.unscored),
        beside=[name for name in ("noise_norm_first", "entropy_e") if name != found.signal],
        shaded=tokenizer is not None,
        command=command,
    )
