"""The study's figures, as PNG."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from PIL import Image

COLOURS = ["#1b6ca8", "#9a9a9a", "#c8553d"]


def dose_response(doses: Sequence[dict[str, Any]], none: dict[str, Any], path: Path) -> None:
    """Copying against dose, the target beside its sham; ``none``: without intervention."""
    charts = []
    for target, unit, neutral in (
        ("beginning", "factor on the beginning token's key", 1.0),
        ("triggers", "added to the trigger tokens' logits", 0.0),
        ("padding", "added to the padding's logits", 0.0),
    ):
        rows = [
            {**row, "what": "sham: other tokens" if "sham" in row["target"] else "target"}
            for row in doses
            if row["target"].split()[0] == target and row["captions"] == "memorized"
        ]
        rows = [row for row in rows if row["dose"] != float("-inf")]
        for what in dict.fromkeys(row["what"] for row in rows):
            rows.append({**none, "what": what, "dose": neutral})
        charts.append(_panel(rows, unit))
    _save(alt.hconcat(*charts).resolve_scale(color="shared"), path)


def _panel(rows: list[dict[str, Any]], unit: str) -> Any:
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("dose:Q", title=unit),
        color=alt.Color("what:N", title=None, scale=alt.Scale(range=COLOURS)),
    )
    share = alt.Y("reproduced:Q", title="share reproduced", scale=alt.Scale(domain=[0, 1]))
    band = base.mark_errorbar().encode(
        y=alt.Y("reproduced_low:Q", title="share reproduced", scale=alt.Scale(domain=[0, 1])),
        y2="reproduced_high:Q",
    )
    top = alt.layer(band, base.mark_line(point=True).encode(y=share)).properties(
        width=230, height=150
    )
    likeness = base.mark_line(point=True).encode(
        y=alt.Y("similarity:Q", title="similarity (1 − RMSE)", scale=alt.Scale(zero=False))
    )
    return alt.vconcat(top, likeness.properties(width=230, height=150))


def settings(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """What memorized captions still reproduce, against how far the others move."""
    data = [
        {**row, "kind": "selective" if "selective" in row["setting"] else "every caption"}
        for row in rows
    ]
    base = alt.Chart(alt.Data(values=data)).encode(
        x=alt.X("others_moved:Q", title="how far other captions' pictures move (RMSE)"),
        y=alt.Y("reproduced:Q", title="share of memorized captions reproduced"),
        color=alt.Color("kind:N", title=None, scale=alt.Scale(range=COLOURS)),
    )
    text = base.mark_text(align="left", dx=6, fontSize=9).encode(text="setting:N")
    _save(alt.layer(base.mark_point(filled=True), text).properties(width=560, height=340), path)


def tuning(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Memorization and quality over the steps of each fine-tuning."""
    charts = []
    for column, title in (
        ("reproduced", "share of repeated captions reproduced"),
        ("unseen_loss", "loss on unseen pairs"),
        ("others_frechet", "Fréchet distance of others"),
    ):
        base = alt.Chart(alt.Data(values=list(rows))).mark_line(point=True)
        charts.append(
            base.encode(
                x=alt.X("step:Q", title="step"),
                y=alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=column == "reproduced")),
                color=alt.Color("run:N", title=None),
            ).properties(width=230, height=180)
        )
    _save(alt.hconcat(*charts), path)


def _save(chart: Any, path: Path) -> None:
    """In a palette of 64 colours, which keeps a figure small enough for a repository."""
    png = vl_convert.vegalite_to_png(chart.to_json(), scale=1.5)
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
