"""Charts of the report."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from scanner.pages import Chart, Colors, finish
from scanner.report.content import OTHERS, ReportContent

WIDE = 620
PANEL = (260, 130)
COLUMNS = 3


def report_charts(content: ReportContent, colors: Colors) -> dict[str, Chart]:
    """Draw every chart that the content has data for, by name."""
    charts = {
        "distributions": distributions(content, colors),
        "repetition": repetition(content, colors),
    }
    if content.agreement:
        charts["agreement"] = agreement(content, colors)
    if content.evaluation:
        charts["reliability"] = reliability(content.evaluation["reliability"], colors)
    return charts


def distributions(content: ReportContent, colors: Colors) -> Chart:
    """Draw a histogram per signal, with captions known to be memorized separate from the others."""
    signals = list(dict.fromkeys(row["signal"] for row in content.bins))
    kinds = sorted({row["kind"] for row in content.bins}, key=lambda kind: kind != OTHERS)
    totals = {
        (signal, kind): sum(
            row["captions"]
            for row in content.bins
            if (row["signal"], row["kind"]) == (signal, kind)
        )
        for signal in signals
        for kind in kinds
    }
    rows = [
        {**row, "share": row["captions"] / totals[row["signal"], row["kind"]]}
        for row in content.bins
    ]
    color = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=kinds, range=[colors.others, colors.here][: len(kinds)]),
        legend=alt.Legend(orient="top") if len(kinds) > 1 else None,
    )
    panels = [
        alt.Chart(alt.Data(values=[row for row in rows if row["signal"] == signal]))
        .mark_bar(opacity=0.65)
        .encode(
            x=alt.X("from:Q", title=None, scale=alt.Scale(zero=False)),
            x2="to:Q",
            y=alt.Y("share:Q", title=None, stack=None, axis=alt.Axis(format="%", tickCount=3)),
            y2=alt.datum(0),
            color=color,
            tooltip=[
                alt.Tooltip("kind:N", title=signal),
                alt.Tooltip("from:Q", format=".4~g"),
                alt.Tooltip("to:Q", format=".4~g"),
                alt.Tooltip("captions:Q", format=","),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
        .properties(width=PANEL[0], height=PANEL[1], title=signal)
        for signal in signals
    ]
    return finish(
        alt.concat(*panels, columns=COLUMNS, spacing=20),
        colors,
        f"Histograms of {', '.join(signals)} over the ranked captions, as shares of the "
        f"{' and of the '.join(kinds)}.",
    )


def repetition(content: ReportContent, colors: Colors) -> Chart:
    """Draw the ranking signal against the number of samples per caption."""
    rows = [
        {
            "samples": f"{row['samples_from']}–{row['samples_to']}"
            if row["samples_from"] != row["samples_to"]
            else str(row["samples_to"]),
            "median": row["median_rank_score"],
            "p90": row["p90_rank_score"],
            "captions": row["captions"],
            "flagged": row["flagged_share"],
        }
        for row in content.repetition
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("samples:N", sort=None, title="samples per caption", axis=alt.Axis(labelAngle=0))
    )
    tips = [
        alt.Tooltip("samples:N", title="samples per caption"),
        alt.Tooltip("captions:Q", format=","),
        alt.Tooltip("median:Q", format=".4~g"),
        alt.Tooltip("p90:Q", title="90th percentile", format=".4~g"),
        alt.Tooltip("flagged:Q", format=".1%"),
    ]
    chart = alt.layer(
        base.mark_rule(color=colors.others, strokeWidth=6).encode(
            y=alt.Y("median:Q", title=f"{content.signal} (memorized is higher)"),
            y2="p90:Q",
            tooltip=tips,
        ),
        base.mark_point(filled=True, size=90, color=colors.here, opacity=1).encode(
            y="median:Q", tooltip=tips
        ),
    ).properties(width=WIDE, height=220)
    values = "; ".join(
        f"{row['samples']} samples: median {row['median']:.3g}, {row['flagged']:.0%} flagged"
        for row in rows
    )
    return finish(chart, colors, f"{content.signal} by number of samples per caption. {values}.")


def agreement(content: ReportContent, colors: Colors) -> Chart:
    """Draw the rank correlation of each pair of signals."""
    both = [
        {
            "one": one,
            "other": other,
            "correlation": row["rank_correlation"],
            "size": abs(row["rank_correlation"]),
        }
        for row in content.agreement
        if row["rank_correlation"] is not None
        for one, other in ((row["signal"], row["other"]), (row["other"], row["signal"]))
    ]
    base = alt.Chart(alt.Data(values=both)).encode(
        x=alt.X("one:N", title=None, axis=alt.Axis(labelAngle=-35)),
        y=alt.Y("other:N", title=None),
        tooltip=[
            alt.Tooltip("one:N", title="signal"),
            alt.Tooltip("other:N", title="and"),
            alt.Tooltip("correlation:Q", title="rank correlation", format=".3f"),
        ],
    )
    chart = alt.layer(
        base.mark_rect().encode(
            # One color per sign: a scale cannot interpolate between CSS variables.
            color=alt.condition(
                alt.datum.correlation > 0, alt.value(colors.high), alt.value(colors.low)
            ),
            opacity=alt.Opacity(
                "size:Q", scale=alt.Scale(domain=[0, 1], range=[0, 0.8]), legend=None
            ),
        ),
        base.mark_text(fontSize=11).encode(text=alt.Text("correlation:Q", format=".2f")),
    ).properties(width=420, height=34 * len({row["one"] for row in both}))
    values = "; ".join(
        f"{row['signal']} and {row['other']} {row['rank_correlation']:.2f}"
        for row in content.agreement
        if row["rank_correlation"] is not None
    )
    return finish(chart, colors, f"Spearman's rank correlation of the signals: {values}.")


def reliability(bins: Sequence[dict[str, Any]], colors: Colors) -> Chart:
    """Draw predicted probability against the share of labeled captions that are memorized."""
    rows = [row for row in bins if row["captions"]]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("predicted:Q", title="predicted", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("observed:Q", title="observed", scale=alt.Scale(domain=[0, 1])),
    )
    diagonal = alt.Chart(alt.Data(values=[{"p": 0}, {"p": 1}])).mark_line(
        color=colors.others, strokeDash=[4, 4]
    )
    chart = alt.layer(
        diagonal.encode(x="p:Q", y="p:Q"),
        base.mark_line(color=colors.here),
        base.mark_point(filled=True, color=colors.here, opacity=1).encode(
            size=alt.Size("captions:Q", legend=None),
            tooltip=[
                alt.Tooltip("predicted:Q", format=".1%"),
                alt.Tooltip("observed:Q", format=".1%"),
                alt.Tooltip("captions:Q", format=","),
            ],
        ),
    ).properties(width=300, height=220)
    values = "; ".join(
        f"{row['predicted']:.0%} predicted, {row['observed']:.0%} observed" for row in rows
    )
    return finish(chart, colors, f"Reliability of the probabilities on labeled captions: {values}.")
