"""Charts of an explanation, in the colors of a page or a PNG file."""

from typing import Any

import altair as alt

from scanner.evidence.explain.curves import Curve
from scanner.evidence.explain.explanation import Explanation
from scanner.evidence.explain.scores import Score
from scanner.pages import Chart, Colors, finish

WIDE = 860
PANEL = (250, 120)
ROW = 17
PICTURE = 330


def scores_chart(explanation: Explanation, colors: Colors) -> Chart:
    """Draw each score as a diamond on a line with ticks for the held-out captions."""
    chart = _score_rows(explanation, colors)
    description = "Scores of the caption against held-out captions. " + _describe(explanation)
    return finish(chart, colors, description)


def overview_chart(explanation: Explanation, colors: Colors, picture: str) -> Chart:
    """Draw the top of the page as one image; ``picture``: a data URL of the generated image."""
    base = alt.Chart(_data([{"url": picture}]))
    image = base.mark_image(width=PICTURE, height=PICTURE, align="left", baseline="top").encode(
        url="url:N", x=alt.value(0), y=alt.value(0)
    )
    scores = [_score_rows(explanation, colors)] if explanation.held_out else []
    lead = [image.properties(width=PICTURE, height=PICTURE), *scores]
    chart = alt.vconcat(
        alt.hconcat(*lead, spacing=40), _curve_panels(explanation, colors), spacing=24
    ).properties(
        title=alt.TitleParams(
            explanation.caption,
            subtitle=explanation.evidence or "",
            fontSize=18,
            limit=WIDE,
            offset=12,
        )
    )
    return finish(chart, colors, f"The caption and the image. {_describe(explanation)}")


def _score_rows(explanation: Explanation, colors: Colors) -> alt.VConcatChart:
    return alt.vconcat(*(_score_chart(score, colors) for score in explanation.scores), spacing=6)


def _score_chart(score: Score, colors: Colors) -> Any:
    dots = alt.Chart(_data({"value": value} for value in score.others))
    own = alt.Chart(_data([{"value": score.value}]))
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=False, nice=True), axis=_axis(4))
    return alt.layer(
        dots.mark_tick(color=colors.others, opacity=0.55, thickness=1.5, height=16).encode(x=x),
        own.mark_point(shape="diamond", size=170, filled=True, opacity=1, color=colors.here).encode(
            x=x, tooltip=[alt.Tooltip("value:Q", title=score.name, format=".4g")]
        ),
    ).properties(
        width=460,
        height=26,
        title=alt.TitleParams(
            _TITLES[score.name],
            subtitle=_direction(score),
            fontSize=12,
            subtitleFontSize=11,
            color={1: colors.here, -1: colors.low}.get(score.points, colors.ink),
        ),
    )


def _direction(score: Score) -> str:
    """Describe the direction of memorized captions, and the evidence for this one."""
    texts = {1: "memorized: higher", -1: "memorized: lower"}
    direction = texts.get(score.memorized, "direction unknown")
    return f"{direction} – {score.evidence}" if score.points else direction


_TITLES = {
    "noise_norm_low": "noise_norm_low: effect of the caption at the low-noise step",
    "velocity_norm_mid": "velocity_norm_mid: effect of the caption at σ = 0.5",
    "text_share": "text_share: share of the text in the image's attention",
    "noise_norm_first": "noise_norm_first: effect of the caption on the first step",
    "bos_mass": "bos_mass: attention on the BOS token",
    "prompt_mass": "prompt_mass: attention on the words",
    "summary_mass": "summary_mass: attention on EOS and padding",
    "entropy_e": "entropy_e: entropy of the attention",
}


def curves_chart(explanation: Explanation, colors: Colors) -> Chart:
    """Draw each curve over the steps, with the band of the held-out captions."""
    chart = _curve_panels(explanation, colors)
    texts = [
        f"{curve.title}: from {curve.values[0]:.3g} to {curve.values[-1]:.3g}"
        + (
            f", above the band at {curve.above:.0%} of the steps, below it at {curve.below:.0%}"
            if curve.low
            else ""
        )
        for curve in explanation.curves
    ]
    return finish(chart, colors, "Over the steps. " + "; ".join(texts) + ".")


def _curve_panels(explanation: Explanation, colors: Colors) -> alt.ConcatChart:
    panels = [_curve_panel(curve, colors) for curve in explanation.curves]
    return alt.concat(*panels, columns=3, spacing=18)


def _curve_panel(curve: Curve, colors: Colors) -> Any:
    steps = range(len(curve.values))
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickCount=5, tickMinStep=1, grid=False))
    y = alt.Y("value:Q", title=None, axis=_axis(4), scale=alt.Scale(zero=False))
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
            bounds.mark_area(color=colors.band).encode(x=x, y=y, y2="high:Q"),
            bounds.mark_line(color=colors.others, strokeDash=[3, 3], strokeWidth=1).encode(
                x=x, y="median:Q"
            ),
        ]
    layers.append(
        line.mark_line(color=colors.here, strokeWidth=2.5, point=len(curve.values) == 1).encode(
            x=x, y=y, tooltip=["step:Q", alt.Tooltip("value:Q", format=".4g")]
        )
    )
    return alt.layer(*layers).properties(
        width=PANEL[0], height=PANEL[1], title=alt.TitleParams(curve.title, fontSize=12)
    )


def words_chart(explanation: Explanation, colors: Colors) -> Chart:
    """Draw three bars per word: attention, gradient, and the drop in the norm without it."""
    norm = f"{explanation.effect} norm"
    whole = next(score.value for score in explanation.scores if score.name == "noise_norm_first")
    names = _names([word.text for word in explanation.words])
    rows = [
        {
            "word": name,
            "attention": word.attention,
            "gradient": word.gradient,
            "drop": whole - word.ablated_scores["noise_norm_first"],
            "trigger": word.trigger,
        }
        for name, word in zip(names, explanation.words, strict=True)
    ]
    titles = {
        "attention": "attention (share, step 0)",
        "gradient": f"gradient of the {norm}",
        "drop": f"drop in {norm} without it",
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
                x=alt.X(f"{field}:Q", title=None, axis=_axis(4)),
                color=alt.condition(
                    "datum.trigger", alt.value(colors.here), alt.value(colors.others)
                ),
                tooltip=["word:N", alt.Tooltip(f"{field}:Q", format=".4g")],
            )
            .properties(
                width=205, height=ROW * len(rows), title=alt.TitleParams(title, fontSize=12)
            )
        )
    values = ", ".join(
        f"{row['word']} {row['attention']:.1%} and {row['drop']:+.3g}" for row in rows
    )
    return finish(
        alt.hconcat(*panels, spacing=18),
        colors,
        f"Each word's share of attention, and the drop in {norm} without it: {values}.",
    )


def _axis(ticks: int) -> alt.Axis:
    return alt.Axis(tickCount=ticks, grid=False)


def _data(rows: Any) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def _names(texts: list[str]) -> list[str]:
    """Make labels unique by prefixing the position in the caption."""
    return [f"{number} {text}" for number, text in enumerate(texts, 1)]


def _describe(explanation: Explanation) -> str:
    parts = []
    for score in explanation.scores:
        share = ""
        if score.below is not None:
            share = f", higher than {score.below:.0%} of held-out captions"
        evidence = f", {score.evidence}" if score.evidence else ""
        parts.append(f"{score.name} {score.value:.4g}{share}{evidence}")
    total = f" {explanation.evidence}." if explanation.evidence else ""
    return "; ".join(parts) + "." + total
