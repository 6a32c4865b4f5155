"""The charts of an explanation, in the colours of a page or of a picture."""

from typing import Any

import altair as alt

from scanner.evidence.explain.curves import Curve
from scanner.evidence.explain.explanation import Explanation
from scanner.evidence.explain.scores import Score
from scanner.pages import Chart, Colours, finish

WIDE = 860
PANEL = (250, 120)
ROW = 17
PICTURE = 330


def scores_chart(found: Explanation, colours: Colours) -> Chart:
    """Each score on a line with those of the held-out captions: a diamond among dots."""
    chart = _score_rows(found, colours)
    return finish(
        chart, colours, "Scores of the caption against held-out captions. " + _said(found)
    )


def overview_chart(found: Explanation, colours: Colours, picture: str) -> Chart:
    """What the page starts with, as one picture; ``picture``: a data URL of what is generated."""
    place = alt.Chart(_data([{"url": picture}]))
    image = place.mark_image(width=PICTURE, height=PICTURE, align="left", baseline="top").encode(
        url="url:N", x=alt.value(0), y=alt.value(0)
    )
    beside = [_score_rows(found, colours)] if found.held_out else []
    lead = [image.properties(width=PICTURE, height=PICTURE), *beside]
    chart = alt.vconcat(
        alt.hconcat(*lead, spacing=40), _curve_panels(found, colours), spacing=24
    ).properties(
        title=alt.TitleParams(
            found.caption, subtitle=found.evidence or "", fontSize=18, limit=WIDE, offset=12
        )
    )
    return finish(chart, colours, f"The caption and the picture. {_said(found)}")


def _score_rows(found: Explanation, colours: Colours) -> alt.VConcatChart:
    return alt.vconcat(*(_score_chart(score, colours) for score in found.scores), spacing=6)


def _score_chart(score: Score, colours: Colours) -> Any:
    dots = alt.Chart(_data({"value": value} for value in score.others))
    one = alt.Chart(_data([{"value": score.value}]))
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=False, nice=True), axis=_few(4))
    return alt.layer(
        dots.mark_tick(color=colours.others, opacity=0.55, thickness=1.5, height=16).encode(x=x),
        one.mark_point(
            shape="diamond", size=170, filled=True, opacity=1, color=colours.here
        ).encode(x=x, tooltip=[alt.Tooltip("value:Q", title=score.name, format=".4g")]),
    ).properties(
        width=460,
        height=26,
        title=alt.TitleParams(
            _TITLES[score.name],
            subtitle=_direction(score),
            fontSize=12,
            subtitleFontSize=11,
            color={1: colours.here, -1: colours.low}.get(score.points, colours.ink),
        ),
    )


def _direction(score: Score) -> str:
    """What memorized captions have, and what that makes of this one."""
    more = {1: "memorized: more", -1: "memorized: less"}.get(score.memorized, "direction unknown")
    return f"{more} – {score.evidence}" if score.points else more


_TITLES = {
    "noise_norm_first": "noise_norm_first: how far the caption moves the first step",
    "bos_mass": "bos_mass: attention on the beginning token",
    "prompt_mass": "prompt_mass: attention on the words",
    "summary_mass": "summary_mass: attention on the end and padding",
    "entropy_e": "entropy_e: how spread out attention is",
}


def curves_chart(found: Explanation, colours: Colours) -> Chart:
    """Each curve over the steps, on the band of the held-out captions."""
    chart = _curve_panels(found, colours)
    said = [
        f"{curve.title}: from {curve.values[0]:.3g} to {curve.values[-1]:.3g}"
        + (
            f", above the band at {curve.above:.0%} of the steps, below it at {curve.below:.0%}"
            if curve.low
            else ""
        )
        for curve in found.curves
    ]
    return finish(chart, colours, "Over the steps. " + "; ".join(said) + ".")


def _curve_panels(found: Explanation, colours: Colours) -> alt.ConcatChart:
    panels = [_curve_panel(curve, colours) for curve in found.curves]
    return alt.concat(*panels, columns=3, spacing=18)


def _curve_panel(curve: Curve, colours: Colours) -> Any:
    steps = range(len(curve.values))
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickCount=5, tickMinStep=1, grid=False))
    y = alt.Y("value:Q", title=None, axis=_few(4), scale=alt.Scale(zero=False))
    line = alt.Chart(_data({"step": s, "value": curve.values[s]} for s in steps))
    layers: list[alt.Chart] = []
    if curve.low:
        bounds = alt.Chart(
            _data(
                {"step": s, "value": curve.low[s], "high": curve.high[s], "median": curve.median[s]}
                for s in steps
            )
        )
        layers += [
            bounds.mark_area(color=colours.band).encode(x=x, y=y, y2="high:Q"),
            bounds.mark_line(color=colours.others, strokeDash=[3, 3], strokeWidth=1).encode(
                x=x, y="median:Q"
            ),
        ]
    layers.append(
        line.mark_line(color=colours.here, strokeWidth=2.5, point=len(curve.values) == 1).encode(
            x=x, y=y, tooltip=["step:Q", alt.Tooltip("value:Q", format=".4g")]
        )
    )
    return alt.layer(*layers).properties(
        width=PANEL[0], height=PANEL[1], title=alt.TitleParams(curve.title, fontSize=12)
    )


def words_chart(found: Explanation, colours: Colours) -> Chart:
    """Three bars a word: attention, gradient, and what the noise norm loses without it."""
    whole = next(score.value for score in found.scores if score.name == "noise_norm_first")
    names = _names([word.text for word in found.words])
    rows = [
        {
            "word": name,
            "attention": word.attention,
            "gradient": word.gradient,
            "lost": whole - word.without["noise_norm_first"],
            "trigger": word.trigger,
        }
        for name, word in zip(names, found.words, strict=True)
    ]
    titles = {
        "attention": "attention on it (share, step 0)",
        "gradient": "gradient of the noise norm",
        "lost": "noise norm lost without it",
    }
    panels: list[alt.Chart] = []
    for field, title in titles.items():
        first = not panels
        y = alt.Y(
            "word:N", sort=names, title=None, axis=alt.Axis(labelLimit=170) if first else None
        )
        panels.append(
            alt.Chart(_data(rows))
            .mark_bar(height={"band": 0.7})
            .encode(
                y=y,
                x=alt.X(f"{field}:Q", title=None, axis=_few(4)),
                color=alt.condition(
                    "datum.trigger", alt.value(colours.here), alt.value(colours.others)
                ),
                tooltip=["word:N", alt.Tooltip(f"{field}:Q", format=".4g")],
            )
            .properties(
                width=205, height=ROW * len(rows), title=alt.TitleParams(title, fontSize=12)
            )
        )
    said = ", ".join(f"{row['word']} {row['attention']:.1%} and {row['lost']:+.3g}" for row in rows)
    return finish(
        alt.hconcat(*panels, spacing=18),
        colours,
        f"Each word's share of attention, and what the noise norm loses without it: {said}.",
    )


def _few(ticks: int) -> alt.Axis:
    return alt.Axis(tickCount=ticks, grid=False)


def _data(rows: Any) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def _names(texts: list[str]) -> list[str]:
    """Labels that differ also where the texts are alike: the place in the caption before them."""
    return [f"{number} {text}" for number, text in enumerate(texts, 1)]


def _said(found: Explanation) -> str:
    parts = []
    for score in found.scores:
        share = "" if score.below is None else f", more than {score.below:.0%} of held-out captions"
        points = f", {score.evidence}" if score.evidence else ""
        parts.append(f"{score.name} {score.value:.4g}{share}{points}")
    counted = f" {found.evidence}." if found.evidence else ""
    return "; ".join(parts) + "." + counted
