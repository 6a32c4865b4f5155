"""The charts of a report."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from scanner.pages import Chart, Colours, finish
from scanner.report.content import OTHERS, Content

WIDE = 620
PANEL = (260, 110)


def charts(found: Content, colours: Colours) -> dict[str, Chart]:
    """Every chart that there are numbers for, by its name."""
    made = {
        "distributions": distributions(found, colours),
        "repetition": repetition(found, colours),
    }
    if found.agreement:
        made["agreement"] = agreement(found, colours)
    if found.evaluation:
        made["reliability"] = reliability(found.evaluation["reliability"], colours)
    return made


def distributions(found: Content, colours: Colours) -> Chart:
    """Each signal's histogram; of captions known to be memorized beside the others."""
    signals = list(dict.fromkeys(row["signal"] for row in found.bins))
    kinds = sorted({row["kind"] for row in found.bins}, key=lambda kind: kind != OTHERS)
    totals = {
        (signal, kind): sum(
            row["captions"] for row in found.bins if (row["signal"], row["kind"]) == (signal, kind)
        )
        for signal in signals
        for kind in kinds
    }
    rows = [
        {**row, "share": row["captions"] / totals[row["signal"], row["kind"]]} for row in found.bins
    ]
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=kinds, range=[colours.others, colours.here][: len(kinds)]),
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
            color=colour,
            tooltip=["kind:N", "from:Q", "to:Q", "captions:Q"],
        )
        .properties(width=PANEL[0], height=PANEL[1], title=signal)
        for signal in signals
    ]
    return finish(
        alt.concat(*panels, columns=2, spacing=20),
        colours,
        f"Histograms of {', '.join(signals)} over the ranked captions, as shares of "
        f"{' and of '.join(kinds)}.",
    )


def repetition(found: Content, colours: Colours) -> Chart:
    """The decision signal against the number of samples that share a caption."""
    rows = [
        {
            "samples": f"{row['samples_from']}–{row['samples_to']}"
            if row["samples_from"] != row["samples_to"]
            else str(row["samples_to"]),
            "median": row["median_decision"],
            "p90": row["p90_decision"],
            "captions": row["captions"],
            "flagged": row["flagged_share"],
        }
        for row in found.repetition
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("samples:N", sort=None, title="samples that share the caption")
    )
    tips = ["samples:N", "captions:Q", "median:Q", "p90:Q", alt.Tooltip("flagged:Q", format=".1%")]
    chart = alt.layer(
        base.mark_rule(color=colours.others, strokeWidth=6).encode(
            y=alt.Y("median:Q", title=f"{found.signal} (memorized is higher)"), y2="p90:Q"
        ),
        base.mark_point(filled=True, size=90, color=colours.here, opacity=1).encode(
            y="median:Q", tooltip=tips
        ),
    ).properties(width=WIDE, height=220)
    said = "; ".join(
        f"{row['samples']} samples: median {row['median']:.3g}, {row['flagged']:.0%} flagged"
        for row in rows
    )
    return finish(chart, colours, f"{found.signal} by how often a caption is repeated. {said}.")


def agreement(found: Content, colours: Colours) -> Chart:
    """Rank correlations of every two signals."""
    both = [
        {
            "one": one,
            "other": other,
            "correlation": row["rank_correlation"],
            "size": abs(row["rank_correlation"]),
        }
        for row in found.agreement
        if row["rank_correlation"] is not None
        for one, other in ((row["signal"], row["other"]), (row["other"], row["signal"]))
    ]
    base = alt.Chart(alt.Data(values=both)).encode(
        x=alt.X("one:N", title=None, axis=alt.Axis(labelAngle=-35)), y=alt.Y("other:N", title=None)
    )
    chart = alt.layer(
        base.mark_rect().encode(
            # Two colours by sign: a scale cannot blend what the page's variables name.
            color=alt.condition(
                alt.datum.correlation > 0, alt.value(colours.high), alt.value(colours.low)
            ),
            opacity=alt.Opacity(
                "size:Q", scale=alt.Scale(domain=[0, 1], range=[0, 0.8]), legend=None
            ),
        ),
        base.mark_text(fontSize=11).encode(text=alt.Text("correlation:Q", format=".2f")),
    ).properties(width=420, height=34 * len({row["one"] for row in both}))
    said = "; ".join(
        f"{row['signal']} and {row['other']} {row['rank_correlation']:.2f}"
        for row in found.agreement
        if row["rank_correlation"] is not None
    )
    return finish(chart, colours, f"Spearman's rank correlation of the signals: {said}.")


def reliability(bins: Sequence[dict[str, Any]], colours: Colours) -> Chart:
    """Predicted probability against how many of the labelled captions are memorized."""
    rows = [row for row in bins if row["captions"]]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("predicted:Q", title="predicted", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("observed:Q", title="observed", scale=alt.Scale(domain=[0, 1])),
    )
    even = alt.Chart(alt.Data(values=[{"p": 0}, {"p": 1}])).mark_line(
        color=colours.others, strokeDash=[4, 4]
    )
    chart = alt.layer(
        even.encode(x="p:Q", y="p:Q"),
        base.mark_line(color=colours.here),
        base.mark_point(filled=True, color=colours.here, opacity=1).encode(
            size=alt.Size("captions:Q", legend=None),
            tooltip=["predicted:Q", "observed:Q", "captions:Q"],
        ),
    ).properties(width=300, height=220)
    said = "; ".join(
        f"{row['predicted']:.0%} predicted, {row['observed']:.0%} observed" for row in rows
    )
    return finish(chart, colours, f"Reliability of the probabilities on labelled captions: {said}.")
