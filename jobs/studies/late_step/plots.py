"""The study's figures as PNG, in Okabe and Ito's palette with redundant shapes and dashes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from scanner.pages import Chart, png

Row = dict[str, Any]

COLORS = ["#0072b2", "#009e73", "#d55e00"]
SIDES = {1.0: "full side", 0.75: "three quarters", 0.5: "half the side"}
GROUP_COLORS = ["#d55e00", "#e69f00", "#0072b2", "#56b4e9", "#999999"]


def plot_timesteps(rows: Sequence[Row], path: Path) -> None:
    """Plot AUC and TPR at 1 % FPR against the timestep, a column per model, a line per side."""
    data = [{**row, "latents": SIDES[row["side"]]} for row in rows]
    names = list(dict.fromkeys(row["model"] for row in rows))
    kinds = list(SIDES.values())
    lowest = min(row["auc_low"] for row in rows)
    columns = []
    for name in names:
        base = alt.Chart(alt.Data(values=[row for row in data if row["model"] == name])).encode(
            x=alt.X("timestep:Q", title="timestep", scale=alt.Scale(reverse=True)),
            color=alt.Color("latents:N", legend=_LINES, scale=_scale(kinds, COLORS)),
            strokeDash=alt.StrokeDash(
                "latents:N", legend=_LINES, scale=_scale(kinds, [[1, 0], [6, 3], [2, 2]])
            ),
        )
        panels = []
        for value, title, domain in (
            ("auc", "AUC", [lowest, 1]),
            ("tpr", "TPR at 1 % FPR", [0, 1]),
        ):
            y = alt.Y(f"{value}:Q", title=title, scale=alt.Scale(domain=domain))
            line = base.mark_line(point=alt.OverlayMarkDef(size=30)).encode(y=y)
            band = base.mark_area(opacity=0.12).encode(
                y=alt.Y(f"{value}_low:Q", title=title, scale=alt.Scale(domain=domain)),
                y2=f"{value}_high:Q",
            )
            title_of = alt.TitleParams(name if value == "auc" else "")
            panels.append(alt.layer(band, line).properties(width=190, height=150, title=title_of))
        columns.append(alt.vconcat(*panels))
    path.write_bytes(png(Chart(alt.hconcat(*columns).to_dict(), path.stem)))


def plot_groups(points: Sequence[Row], path: Path) -> None:
    """Plot the norm at the low-noise step against the one at the first step, a panel per model."""
    names = list(dict.fromkeys(row["model"] for row in points))
    groups = list(dict.fromkeys(row["group"] for row in points))
    panels = [
        alt.Chart(alt.Data(values=[row for row in points if row["model"] == name]))
        .mark_point(size=18, opacity=0.6, filled=True)
        .encode(
            x=alt.X("first:Q", title="norm at the first step", scale=_LOG),
            y=alt.Y("low:Q", title="norm at the low-noise step", scale=_LOG),
            color=alt.Color("group:N", legend=_LEGEND, scale=_scale(groups, GROUP_COLORS)),
            shape=alt.Shape("group:N", legend=_LEGEND, scale=_scale(groups, _SHAPES)),
        )
        .properties(width=210, height=210, title=name)
        for name in names
    ]
    path.write_bytes(png(Chart(alt.hconcat(*panels).to_dict(), path.stem)))


_LEGEND = alt.Legend(title=None, orient="top", labelLimit=300)
# The bands' color would be too faint.
_LINES = alt.Legend(
    title="latents",
    orient="top",
    symbolType="stroke",
    symbolOpacity=1,
    symbolSize=300,
    symbolStrokeWidth=2,
)
_LOG = alt.Scale(type="log", nice=False, zero=False)
_SHAPES = ["triangle-up", "diamond", "square", "circle", "cross"]


def _scale(names: Sequence[str], values: Sequence[Any]) -> alt.Scale:
    return alt.Scale(domain=list(names), range=list(values))
