"""An explanation as a page, and as pictures."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from scanner.evidence.explain.charts import curves_chart, overview_chart, scores_chart, words_chart
from scanner.evidence.explain.explanation import Explanation
from scanner.evidence.explain.maps import (
    beginning_over_steps,
    tokens_over_layers,
    tokens_over_steps,
)
from scanner.evidence.explain.pictures import data_url, overlay, picture_of
from scanner.pages import PAPER, THEMED, Chart, Colours, png, render

TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True)
class Tile:
    """A word and its heat map over the picture."""

    text: str
    share: float
    heat_HW: Tensor
    trigger: bool = False
    is_word: bool = True


@dataclass(frozen=True)
class Piece:
    """A stretch of the caption as it is shown."""

    text: str
    trigger: bool
    read: bool = True


def page(found: Explanation, model: str) -> str:
    """The explanation as one HTML file that needs no network; ``model``: what the user calls it."""
    picture = picture_of(found.picture)
    return render(
        TEMPLATE,
        found=found,
        model=model,
        picture=data_url(picture),
        charts=charts(found, THEMED),
        tiles=[(tile, data_url(overlay(picture, tile.heat_HW))) for tile in tiles(found)],
        pieces=pieces(found),
    )


def charts(found: Explanation, colours: Colours) -> dict[str, Chart]:
    """Every chart by its name, but for those that have nothing to show."""
    made = {
        "curves": curves_chart(found, colours),
        "tokens_over_steps": tokens_over_steps(found, colours),
        "tokens_over_layers": tokens_over_layers(found, colours),
        "beginning_over_steps": beginning_over_steps(found, colours),
    }
    if found.held_out:
        made["scores"] = scores_chart(found, colours)
    if found.words:
        made["words"] = words_chart(found, colours)
    return made


def write_pictures(found: Explanation, folder: Path) -> list[Path]:
    """The generated picture, every chart, and each word's heat map, as PNG files in a folder.

    Words are numbered in the order of the caption: their text is no name for a file.
    """
    picture = picture_of(found.picture)
    written = [folder / "picture.png"]
    picture.save(written[0])
    overview = overview_chart(found, PAPER, data_url(picture))
    for name, chart in {"overview": overview, **charts(found, PAPER)}.items():
        written.append(folder / f"{name}.png")
        written[-1].write_bytes(png(chart))
    for number, tile in enumerate(tiles(found)):
        written.append(folder / f"heat_{number:02}.png")
        overlay(picture, tile.heat_HW).save(written[-1])
    return written


def tiles(found: Explanation) -> list[Tile]:
    """The beginning token, each word, and the end token with the padding, in this order."""
    share = found.steps_ST[0].tolist()
    heat = found.heat_THW
    words = [
        Tile(word.text, word.attention, heat[list(word.positions)].sum(0), word.trigger)
        for word in found.words
    ]
    first = Tile("beginning token", share[0], heat[0], is_word=False)
    last = Tile("end and padding", sum(share[-2:]), heat[-2:].sum(0), is_word=False)
    return [first, *words, last]


def pieces(found: Explanation) -> list[Piece]:
    """The caption cut at its trigger words, and where the model stops reading."""
    cut, done = [], 0
    end = found.read_to if found.truncated else len(found.caption)
    for word in found.words:
        if word.trigger:
            cut.append(Piece(found.caption[done : word.start], False))
            cut.append(Piece(word.text, True))
            done = word.end
    cut.append(Piece(found.caption[done:end], False))
    cut.append(Piece(found.caption[end:], False, read=False))
    return [piece for piece in cut if piece.text]
