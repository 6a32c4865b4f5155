"""Heat map charts of attention: tokens over steps and layers, and the BOS token."""

from typing import Any

import altair as alt
from torch import Tensor

from scanner.evidence.explain.explanation import Explanation
from scanner.pages import Chart, Colors, finish

CELL = 15
WIDTH = 700
POSITIONS = ["below the band", "within", "above the band"]


def tokens_over_steps(explanation: Explanation, colors: Colors) -> Chart:
    """Draw the early layers' attention, tokens against steps."""
    chart = _map(explanation, explanation.steps_ST, "step", WIDTH)
    return finish(
        chart,
        colors,
        f"Attention on each token at each step. {_describe(explanation, explanation.steps_ST)}",
    )


def tokens_over_layers(explanation: Explanation, colors: Colors) -> Chart:
    """Draw attention, tokens against layers: at step 0, and the mean over all steps."""
    width = WIDTH // 2 - 10
    left = _map(explanation, explanation.layers_NT, "layer", width, title="step 0")
    right = _map(
        explanation,
        explanation.layers_mean_NT,
        "layer",
        width,
        labels=False,
        title="mean over all steps",
    )
    return finish(
        alt.hconcat(left, right, spacing=16),
        colors,
        "Attention on each token in each layer, at step 0 and averaged over all steps. "
        + _describe(explanation, explanation.layers_NT),
    )


def bos_over_steps(explanation: Explanation, colors: Colors) -> Chart:
    """Draw where the BOS token's share leaves the band, layers against steps."""
    positions = _positions(explanation)
    rows = [
        {
            "step": step,
            "layer": layer,
            "share": float(f"{share:.3g}"),
            "position": positions[step][layer],
        }
        for step, of_step in enumerate(explanation.bos_SN.tolist())
        for layer, share in enumerate(of_step)
    ]
    steps, layers = explanation.bos_SN.shape
    if explanation.bos_band_2SN is None:
        color = alt.Color("share:Q", scale=alt.Scale(type="sqrt", scheme="viridis", domain=[0, 1]))
    else:
        scale = alt.Scale(domain=POSITIONS, range=[colors.low, colors.band, colors.high])
        color = alt.Color("position:N", title="share", scale=scale, sort=POSITIONS)
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect()
        .encode(
            x=alt.X("step:O", title="step", axis=_sparse(steps)),
            y=alt.Y("layer:O", title="layer"),
            color=color,
            tooltip=["step:O", "layer:O", alt.Tooltip("share:Q", format=".1%"), "position:N"],
        )
        .properties(width=WIDTH, height=CELL * layers)
    )
    cells = [position for of_step in positions for position in of_step]
    shares = ", ".join(f"{name} in {cells.count(name) / len(cells):.0%}" for name in POSITIONS)
    mean = f"mean {float(explanation.bos_SN.mean()):.1%}"
    band = "" if explanation.bos_band_2SN is None else f"; against held-out captions {shares}"
    return finish(chart, colors, f"The BOS token's share by layer and step: {mean}{band}.")


def _positions(explanation: Explanation) -> list[list[str]]:
    """Return for every step and layer whether the BOS token's share is within the band."""
    if explanation.bos_band_2SN is None:
        return [[POSITIONS[1]] * explanation.bos_SN.shape[1]] * len(explanation.bos_SN)
    low, high = explanation.bos_band_2SN
    number = 1 + (explanation.bos_SN > high).int() - (explanation.bos_SN < low).int()
    return [[POSITIONS[index] for index in of_step] for of_step in number.tolist()]


def _map(
    explanation: Explanation,
    values_XT: Tensor,
    across: str,
    width: int,
    labels: bool = True,
    title: str = "",
) -> alt.Chart:
    names = [f"{index} {text}" for index, text in enumerate(explanation.tokens)]
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


def _describe(explanation: Explanation, values_XT: Tensor) -> str:
    """Describe which tokens have the most attention."""
    first, last = values_XT[0], values_XT[-1]
    return (
        f"The BOS token has {float(first[0]):.1%} in the first column and {float(last[0]):.1%} in "
        f"the last; the word with the most attention in the first column is "
        f"{_heaviest(explanation.tokens, first)}."
    )


def _heaviest(tokens: list[str], share_T: Tensor) -> str:
    words = share_T[1:-2]
    if not len(words):
        return "none"
    index = int(words.argmax()) + 1
    return f"{tokens[index]} ({float(share_T[index]):.1%})"
