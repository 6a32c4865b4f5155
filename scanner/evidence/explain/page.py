"""Render an explanation as an HTML page and as PNG files."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from scanner.evidence.explain.charts import curves_chart, overview_chart, scores_chart, words_chart
from scanner.evidence.explain.explanation import Explanation
from scanner.evidence.explain.images import data_url, overlay, to_image
from scanner.evidence.explain.maps import (
    bos_over_steps,
    tokens_over_layers,
    tokens_over_steps,
)
from scanner.pages import PAPER, THEMED, Chart, Colors, png, render

TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True)
class HeatTile:
    """A word with its attention over the image."""

    text: str
    share: float
    heat_HW: Tensor
    trigger: bool = False
    is_word: bool = True


@dataclass(frozen=True)
class CaptionSpan:
    """A span of the caption. ``read``: whether the model's tokenizer reaches it."""

    text: str
    trigger: bool
    read: bool = True


def render_explanation(explanation: Explanation, model: str) -> str:
    """Render one self-contained HTML file. ``model``: the name given by the user."""
    picture = to_image(explanation.picture)
    tiles = heat_tiles(explanation)
    return render(
        TEMPLATE,
        explanation=explanation,
        model=model,
        picture=data_url(picture),
        charts=explanation_charts(explanation, THEMED),
        tiles=[(tile, data_url(overlay(picture, tile.heat_HW))) for tile in tiles],
        spans=caption_spans(explanation),
    )


def explanation_charts(explanation: Explanation, colors: Colors) -> dict[str, Chart]:
    """Draw every chart that has data, by name."""
    charts = {
        "curves": curves_chart(explanation, colors),
        "tokens_over_steps": tokens_over_steps(explanation, colors),
        "tokens_over_layers": tokens_over_layers(explanation, colors),
        "bos_over_steps": bos_over_steps(explanation, colors),
    }
    if explanation.held_out:
        charts["scores"] = scores_chart(explanation, colors)
    if explanation.words:
        charts["words"] = words_chart(explanation, colors)
    return charts


def write_png_files(explanation: Explanation, folder: Path) -> list[Path]:
    """Write the generated image, every chart and each word's heat map as PNG files.

    Heat maps are numbered in caption order, since words are not safe file names.
    """
    picture = to_image(explanation.picture)
    written = [folder / "picture.png"]
    picture.save(written[0])
    overview = overview_chart(explanation, PAPER, data_url(picture))
    for name, chart in {"overview": overview, **explanation_charts(explanation, PAPER)}.items():
        written.append(folder / f"{name}.png")
        written[-1].write_bytes(png(chart))
    for number, tile in enumerate(heat_tiles(explanation)):
        written.append(folder / f"heat_{number:02}.png")
        overlay(picture, tile.heat_HW).save(written[-1])
    return written


def heat_tiles(explanation: Explanation) -> list[HeatTile]:
    """Return the heat maps of the BOS token, each word, and EOS with the padding, in this order."""
    share = explanation.steps_ST[0].tolist()
    heat = explanation.heat_THW
    words = [
        HeatTile(word.text, word.attention, heat[list(word.positions)].sum(0), word.trigger)
        for word in explanation.words
    ]
    first = HeatTile("BOS token", share[0], heat[0], is_word=False)
    last = HeatTile("EOS and padding", sum(share[-2:]), heat[-2:].sum(0), is_word=False)
    return [first, *words, last]


def caption_spans(explanation: Explanation) -> list[CaptionSpan]:
    """Cut the caption at its trigger words and where it is truncated."""
    spans, done = [], 0
    end = explanation.read_to if explanation.truncated else len(explanation.caption)
    for word in explanation.words:
        if word.trigger:
            spans.append(CaptionSpan(explanation.caption[done : word.start], False))
            spans.append(CaptionSpan(word.text, True))
            done = word.end
    spans.append(CaptionSpan(explanation.caption[done:end], False))
    spans.append(CaptionSpan(explanation.caption[end:], False, read=False))
    return [span for span in spans if span.text]
