"""The study's plots as PNG, in Okabe and Ito's palette with redundant shapes and dashes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from scanner.pages import Chart, png

COLORS = ["#d55e00", "#0072b2", "#009e73", "#000000", "#cc79a7", "#56b4e9", "#e69f00"]
DASHES = [[1, 0], [6, 2], [2, 2], [8, 2, 2, 2], [4, 1], [1, 3], [10, 3]]
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "stroke"]
TARGET, SHAM = "target tokens", "sham: same change, other tokens"
SHARE = alt.Scale(domain=[0, 1])


def plot_dose_response(doses: Sequence[dict[str, Any]], none: dict[str, Any], path: Path) -> None:
    """Plot copying against dose for targets and shams; ``none``: the row without intervention."""
    charts = []
    for target, unit, neutral in (
        ("beginning", "factor on the beginning token's key", 1.0),
        ("triggers", "added to the trigger tokens' logits", 0.0),
        ("padding", "added to the padding's logits (no sham)", 0.0),
    ):
        rows = [
            {**row, "what": SHAM if "sham" in row["target"] else TARGET}
            for row in doses
            if row["target"].split()[0] == target and row["captions"] == "memorized"
        ]
        rows = [row for row in rows if row["dose"] != float("-inf")]
        for what in dict.fromkeys(row["what"] for row in rows):
            rows.append({**none, "what": what, "dose": neutral})
        charts.append(_dose_panels(rows, unit, neutral))
    path.write_bytes(png(Chart(alt.hconcat(*charts).to_dict(), path.stem)))


def _dose_panels(rows: list[dict[str, Any]], unit: str, neutral: float) -> Any:
    """Return two stacked panels: the share reproduced, and similarity, both with intervals."""
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("dose:Q", title=unit, axis=alt.Axis(tickCount=6)),
        color=alt.Color("what:N", **_legend("range", [TARGET, SHAM], COLORS)),
        strokeDash=alt.StrokeDash("what:N", **_legend("range", [TARGET, SHAM], [[1, 0], [5, 3]])),
    )
    rule = alt.Chart(alt.Data(values=[{"dose": neutral}])).mark_rule(color="#999", strokeWidth=1)
    neutral_line = rule.encode(x="dose:Q")
    panels = []
    for column, title, scale in (
        ("reproduced", "share reproduced", SHARE),
        ("similarity", "similarity (1 − RMSE)", alt.Scale(domain=[0.8, 1])),
    ):
        line = base.mark_line(point=alt.OverlayMarkDef(size=45)).encode(
            y=alt.Y(f"{column}:Q", title=title, scale=scale)
        )
        band = base.mark_errorbar(ticks=True).encode(
            y=alt.Y(f"{column}_low:Q", title=title, scale=scale), y2=f"{column}_high:Q"
        )
        panels.append(alt.layer(neutral_line, band, line).properties(width=235, height=150))
    return alt.vconcat(*panels)


def _legend(key: str, names: list[str], values: Sequence[Any]) -> dict[str, Any]:
    legend = alt.Legend(title=None, orient="top", labelLimit=300)
    chosen: dict[str, Any] = {"domain": names, key: list(values[: len(names)])}
    return {"legend": legend, "scale": alt.Scale(**chosen)}


def plot_settings(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot copying and the effect on other captions against the factor, with and without mask."""
    data = []
    for row in rows:
        words = row["setting"].removesuffix(", selective").split()
        factor = 1.0 if words == ["none"] else float(words[1])
        selective = row["setting"].endswith("selective")
        masks = ("factor only", "factor and mask")
        kind = masks["masked" in words] + (", selective" if selective else "")
        data.append({**row, "factor": factor, "kind": kind})
        if words == ["none"]:
            data.append({**data[-1], "kind": f"{kind}, selective"})
    names = list(dict.fromkeys(row["kind"] for row in sorted(data, key=lambda row: row["kind"])))
    base = alt.Chart(alt.Data(values=data)).encode(
        x=alt.X("factor:Q", title="factor on the beginning token's logit", scale=_zoomed()),
        color=alt.Color("kind:N", **_legend("range", names, COLORS)),
        strokeDash=alt.StrokeDash("kind:N", **_legend("range", names, [[1, 0], [4, 3]] * 2)),
        shape=alt.Shape("kind:N", **_legend("range", names, ["circle", "square"] * 2)),
    )
    charts = [
        base.mark_line(point=alt.OverlayMarkDef(size=45, filled=False))
        .encode(y=alt.Y(f"{column}:Q", title=title, scale=scale))
        .properties(width=250, height=200)
        for column, title, scale in (
            ("reproduced", "memorized captions reproduced", SHARE),
            ("others_moved", "others: change of images (RMSE)", _zoomed()),
            ("others_alignment", "others: caption alignment", _zoomed()),
        )
    ]
    path.write_bytes(png(Chart(alt.hconcat(*charts).to_dict(), path.stem)))


def plot_tuning(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot copying and quality of each fine-tuning run over the steps, and quality over the sum of
    the weights."""
    names = list(dict.fromkeys(row["run"] for row in rows))
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        color=alt.Color("run:N", **_legend("range", names, COLORS)),
        strokeDash=alt.StrokeDash("run:N", **_legend("range", names, DASHES)),
        shape=alt.Shape("run:N", **_legend("range", names, SHAPES)),
    )
    charts = []
    for x, across, column, title in (
        ("step", "step", "reproduced", "repeated captions reproduced"),
        ("step", "step", "unseen_loss", "loss on unseen pairs"),
        ("effective_samples", "samples, by weight", "unseen_loss", "loss on unseen pairs"),
    ):
        encoded = base.encode(x=alt.X(f"{x}:Q", title=across, axis=alt.Axis(tickCount=5)))
        scale = alt.Scale(zero=column == "reproduced")
        line = encoded.mark_line(point=alt.OverlayMarkDef(size=45, filled=False), opacity=0.8)
        charts.append(
            line.encode(y=alt.Y(f"{column}:Q", title=title, scale=scale)).properties(
                width=250, height=200
            )
        )
    path.write_bytes(png(Chart(alt.hconcat(*charts).to_dict(), path.stem)))


def _zoomed() -> Any:
    return alt.Scale(zero=False)
