"""Charts of a replication's page."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from scanner.pages import Chart, Colors, finish
from scanner.replication.comparing import Comparison
from scanner.replication.results import ReplicationResults
from scanner.replication.sweeping import SweepPoint

PANEL = 300
ROW_HEIGHT = 34
RATE = "TPR at 1 % FPR"
LEGEND = alt.Legend(orient="top", symbolOpacity=1)


def replication_charts(results: ReplicationResults, colors: Colors) -> dict[str, Chart]:
    """Draw every chart that the results have data for, by name."""
    charts = {}
    if any(row.measured for row in results.comparisons):
        charts["published"] = published_and_measured(results.comparisons, colors)
    if results.points:
        charts["sweep"] = by_timestep(results.points, colors)
    return charts


def published_and_measured(rows: Sequence[Comparison], colors: Colors) -> Chart:
    """Draw each method's published and measured AUC and rate, the latter with its interval."""
    values = [each for row in rows for each in _compared(row)]
    panels = [
        _comparison_panel([one for one in values if one["figure"] == figure], figure, colors, first)
        for figure, first in (("AUC", True), (RATE, False))
    ]
    text = "; ".join(
        f"{one['method']}: {one['figure']} {one['kind']} {one['value']:.3f}" for one in values
    )
    both = alt.hconcat(*panels, spacing=24)
    return finish(both, colors, f"Published and measured figures by method. {text}.")


def _compared(row: Comparison) -> list[dict[str, Any]]:
    figure, found = row.figure, row.separation
    seeds = "1 seed" if figure.seeds == 1 else f"{figure.seeds} seeds"
    name = {"method": f"{figure.method}, {seeds}"}
    values: list[dict[str, Any]] = [
        {**name, "kind": "published", "figure": "AUC", "value": figure.auc},
        {**name, "kind": "published", "figure": RATE, "value": figure.tpr},
    ]
    if found:
        point = found.at_fpr[0.01]
        auc = {"value": found.auc, "low": found.auc_low, "high": found.auc_high}
        rate = {"value": point.tpr, "low": point.tpr_low, "high": point.tpr_high}
        values += [
            {**name, "kind": "measured", "figure": "AUC", **auc},
            {**name, "kind": "measured", "figure": RATE, **rate},
        ]
    return values


def _comparison_panel(
    values: list[dict[str, Any]], figure: str, colors: Colors, with_labels: bool
) -> alt.LayerChart | alt.FacetChart:
    methods = list(dict.fromkeys(one["method"] for one in values))
    axis = alt.Axis(labelLimit=220) if with_labels else None
    y = alt.Y("method:N", title=None, sort=methods, axis=axis)
    x = alt.X("value:Q", title=figure, scale=alt.Scale(zero=False))
    domain = ["published", "measured"]
    base = alt.Chart(alt.Data(values=values))
    bars = (
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=4, opacity=0.35, color=colors.here)
        .encode(x=alt.X("low:Q", title=figure), x2="high:Q")
    )
    points = base.mark_point(size=80, opacity=1, strokeWidth=2).encode(
        x=x,
        shape=alt.Shape(
            "kind:N",
            title=None,
            scale=alt.Scale(domain=domain, range=["diamond", "circle"]),
            legend=LEGEND,
        ),
        color=alt.Color(
            "kind:N",
            title=None,
            scale=alt.Scale(domain=domain, range=[colors.ink, colors.here]),
            legend=LEGEND,
        ),
        tooltip=["method:N", "kind:N", alt.Tooltip("value:Q", format=".3f")],
    )
    return alt.layer(bars, points, encoding={"y": y}).properties(
        width=PANEL, height=ROW_HEIGHT * len(methods)
    )


def by_timestep(points: Sequence[SweepPoint], colors: Colors) -> Chart:
    """Draw AUC and rate of the norm on pure noise by timestep, one line per side."""
    values = [
        {
            "timestep": point.timestep,
            "side": side_name(point.side),
            "AUC": point.separation.auc,
            "AUC low": point.separation.auc_low,
            "AUC high": point.separation.auc_high,
            "rate": point.separation.at_fpr[0.01].tpr,
            "rate low": point.separation.at_fpr[0.01].tpr_low,
            "rate high": point.separation.at_fpr[0.01].tpr_high,
        }
        for point in points
    ]
    panels = [
        _sweep_panel(values, name, title, colors)
        for name, title in (("AUC", "AUC"), ("rate", RATE))
    ]
    text = "; ".join(
        f"side {one['side']}, timestep {one['timestep']}: AUC {one['AUC']:.3f}, "
        f"{RATE} {one['rate']:.2f}"
        for one in values
    )
    return finish(
        alt.hconcat(*panels, spacing=24),
        colors,
        f"Norm of the noise difference on pure noise, by timestep and latent side. {text}.",
    )


def _sweep_panel(
    values: list[dict[str, Any]], name: str, title: str, colors: Colors
) -> alt.LayerChart | alt.FacetChart:
    sides = list(dict.fromkeys(one["side"] for one in values))
    palette = [colors.here, colors.low, colors.others]
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X(
            "timestep:Q", title="timestep (noisiest left)", scale=alt.Scale(reverse=True, zero=True)
        ),
        color=alt.Color(
            "side:N",
            title="latent side",
            sort=sides,
            scale=alt.Scale(domain=sides, range=[palette[k % 3] for k in range(len(sides))]),
            legend=LEGEND,
        ),
    )
    y = alt.Y(f"{name}:Q", title=title, scale=alt.Scale(zero=False))
    bars = base.mark_rule(strokeWidth=3, opacity=0.3).encode(
        y=alt.Y(f"{name} low:Q", title=title), y2=f"{name} high:Q"
    )
    lines = base.mark_line(point=True).encode(
        y=y,
        tooltip=["side:N", "timestep:Q", alt.Tooltip(f"{name}:Q", format=".3f")],
    )
    return alt.layer(bars, lines).properties(width=PANEL, height=240)


def side_name(side: float) -> str:
    """Return a latent side in words."""
    names = {1.0: "whole", 0.75: "three quarters", 0.5: "half"}
    return names.get(side, f"{side:g}")
