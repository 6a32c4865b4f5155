"""Heat maps of attention: each token over the steps and over the layers; the beginning token."""

from typing import Any

import altair as alt
from torch import Tensor

from scanner.evidence.explain.explanation import Explanation
from scanner.pages import Chart, Colours, finish

CELL = 15
WIDTH = 700
PLACES = ["below the band", "within", "above the band"]


def tokens_over_steps(found: Explanation, colours: Colours) -> Chart:
    """Tokens down, steps across: the early layers' attention."""
    chart = _map(found, found.steps_ST, "step", WIDTH)
    return finish(
        chart, colours, f"Attention on each token at each step. {_said(found, found.steps_ST)}"
    )


def tokens_over_layers(found: Explanation, colours: Colours) -> Chart:
    """Tokens down, layers across, at step 0; beside it the mean over all steps."""
    width = WIDTH // 2 - 10
    left = _map(found, found.layers_NT, "layer", width, title="step 0")
    right = _map(
        found, found.layers_mean_NT, "layer", width, labels=False, title="mean of all steps"
    )
    return finish(
        alt.hconcat(left, right, spacing=16),
        colours,
        "Attention on each token in each layer, at step 0 and as the mean of all steps. "
        + _said(found, found.layers_NT),
    )


def beginning_over_steps(found: Explanation, colours: Colours) -> Chart:
    """Layers down, steps across: where the beginning token's share leaves the band."""
    places = _places(found)
    rows = [
        {"step": step, "layer": layer, "share": float(f"{share:.3g}"), "place": places[step][layer]}
        for step, of_step in enumerate(found.beginning_SN.tolist())
        for layer, share in enumerate(of_step)
    ]
    steps, layers = found.beginning_SN.shape
    if found.beginning_band_2SN is None:
        colour = alt.Color("share:Q", scale=alt.Scale(type="sqrt", scheme="viridis", domain=[0, 1]))
    else:
        scale = alt.Scale(domain=PLACES, range=[colours.low, colours.band, colours.high])
        colour = alt.Color("place:N", title="share", scale=scale, sort=PLACES)
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect()
        .encode(
            x=alt.X("step:O", title="step", axis=_sparse(steps)),
            y=alt.Y("layer:O", title="layer"),
            color=colour,
            tooltip=["step:O", "layer:O", alt.Tooltip("share:Q", format=".1%"), "place:N"],
        )
        .properties(width=WIDTH, height=CELL * layers)
    )
    every = [place for of_step in places for place in of_step]
    said = ", ".join(f"{place} in {every.count(place) / len(every):.0%}" for place in PLACES)
    mean = f"mean {float(found.beginning_SN.mean()):.1%}"
    compared = "" if found.beginning_band_2SN is None else f"; against held-out captions {said}"
    return finish(
        chart, colours, f"The beginning token's share by layer and step: {mean}{compared}."
    )


def _places(found: Explanation) -> list[list[str]]:
    """Of every step and layer: whether the beginning token's share is in the band."""
    if found.beginning_band_2SN is None:
        return [[PLACES[1]] * found.beginning_SN.shape[1]] * len(found.beginning_SN)
    low, high = found.beginning_band_2SN
    number = 1 + (found.beginning_SN > high).int() - (found.beginning_SN < low).int()
    return [[PLACES[place] for place in of_step] for of_step in number.tolist()]


def _map(
    found: Explanation,
    values_XT: Tensor,
    across: str,
    width: int,
    labels: bool = True,
    title: str = "",
) -> alt.Chart:
    names = [f"{place} {text}" for place, text in enumerate(found.tokens)]
    rows: list[dict[str, Any]] = [
        {across: number, "token": name, "share": float(f"{share:.3g}")}
        for number, of_one in enumerate(values_XT.tolist())
        for name, share in zip(names, of_one, strict=True)
    ]
    axis = alt.Axis(labelLimit=150) if labels else None
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect()
        .encode(
            x=alt.X(f"{across}:O", title=across, axis=_sparse(len(values_XT))),
            y=alt.Y("token:N", sort=names, title=None, axis=axis),
            color=alt.Color(
                "share:Q",
                title="share",
                scale=alt.Scale(type="sqrt", scheme="viridis", domain=[0, 1]),
                legend=alt.Legend(format=".0%"),
            ),
            tooltip=["token:N", f"{across}:O", alt.Tooltip("share:Q", format=".2%")],
        )
        .properties(width=width, height=CELL * len(names), title=title)
    )


def _sparse(count: int) -> alt.Axis:
    every = max(1, count // 10)
    return alt.Axis(labelAngle=0, values=list(range(0, count, every)))


def _said(found: Explanation, values_XT: Tensor) -> str:
    """Which token has most, in words."""
    first, last = values_XT[0], values_XT[-1]
    return (
        f"The beginning token has {float(first[0]):.1%} in the first column and "
        f"{float(last[0]):.1%} in the last; most among the words has "
        f"{_heaviest(found.tokens, first)} in the first."
    )


def _heaviest(tokens: list[str], share_T: Tensor) -> str:
    words = share_T[1:-2]
    if not len(words):
        return "none"
    place = int(words.argmax()) + 1
    return f"{tokens[place]} ({float(share_T[place]):.1%})"
