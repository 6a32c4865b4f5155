"""Show where a model looks for one caption: per token, layer and step, and on the picture, beside
captions that it was not trained on; and which words are to blame.

Example: memscan explain "a caption" --model testbed --out explain.html
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from jobs.calibrations import evaluation_of, named_calibration
from jobs.escaping import printable
from jobs.output import write_out
from jobs.terminal import command, print_json, quiet_libraries, show
from scanner.errors import UsageError, UserError
from scanner.models.spec import DEFAULT_MODEL, ModelOptions
from scanner.scoring.spec import DenoisingOptions


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(DenoisingOptions, ModelOptions):
    """The caption, what to compare it with, and where to."""

    caption: Annotated[str, tyro.conf.Positional]
    """The caption, as the training set has it."""
    out: str = "explain.html"
    """The page, a file or URL: one HTML file that needs no network."""
    png: Path | None = None
    """Also write every chart and heat map as PNG files into this directory."""
    seed: int = 0
    """The initial noise of the picture and of what is followed over the steps; scores are those of
    a scan with one seed."""
    band: str | None = None
    """A file or URL of captions that the model was not trained on, to compare with: a table with a
    column of captions, in a format that scan reads, or text with one a line. By default the
    testbed's own held-out captions, or forty plain ones that come with this package."""
    band_size: int = 40
    """How many of them are followed, each of which costs what the caption costs; 0 for none."""
    calibration: str | None = None
    """Take each signal's direction from this calibration of the model (a file of memscan calibrate,
    or testbed), by its labels; by default the direction that the signal was published with."""
    json: bool = False
    """Print what the page shows, but for the pictures, as JSON."""

    def check(self) -> None:
        """Raises UsageError for what no default can mend."""
        if self.band_size < 0:
            raise UsageError(f"--band-size {self.band_size}: 0 for none, or more")
        if self.steps < 1:
            raise UsageError(f"--steps {self.steps}: must be at least 1")
        try:
            self.caption.encode()
        except UnicodeEncodeError as error:
            raise UsageError("the caption is not UTF-8 text") from error


def main(arguments: Sequence[str] | None = None) -> int:
    return command(ExplainConfig, "explain", __doc__, _explain, arguments)


def _explain(config: ExplainConfig) -> int:
    config.check()
    config = replace(config, model=config.model or DEFAULT_MODEL)

    from scanner.evidence.explain import explain, page, write_pictures
    from scanner.models import find_model, load_decoder, load_model

    quiet_libraries()
    if config.png:
        _make_folder(config.png)
    held_out = _held_out(config)
    files = find_model(config.model_spec)
    model = load_model(files, device=config.device)
    directions, directions_from = _directions(config, model.weights)
    found = explain(
        model,
        load_decoder(files, str(model.device)),
        config.caption,
        held_out,
        config.scoring_spec,
        config.seed,
        directions,
        directions_from,
    )
    text = page(found, config.model).encode()
    write_out(config.out, lambda file: file.write(text))
    written = write_pictures(found, config.png) if config.png else []
    if config.json:
        record = found.record()
        print_json({**record, "out": config.out, "pictures": [str(path) for path in written]})
        return 0
    for score in found.scores:
        place = f"{score.place}: {score.evidence}" if score.evidence else ""
        show(f"{score.name:18}{score.value:8.4g}  {printable(place)}".rstrip())
    if found.evidence:
        show(f"evidence          {printable(found.evidence)}")
    show(f"page              {config.out}")
    if config.png:
        show(f"pictures          {len(written)} in {config.png}")
    return 0


def _directions(config: ExplainConfig, weights: str) -> tuple[dict[str, int] | None, str]:
    """The directions of signals by --calibration, and whose they are. Raises UserError."""
    from scanner.calibration import confirmed_directions
    from scanner.evidence.explain import PUBLISHED
    from scanner.scoring.catalog import SIGNALS

    calibration = named_calibration(config.calibration)
    if calibration is None:
        return None, PUBLISHED
    if calibration.binding.get("weights") != weights:
        raise UserError(f"--calibration {config.calibration}: was made for another model's weights")
    evaluation = evaluation_of(config.calibration)
    if evaluation is None:
        raise UserError(
            f"--calibration {config.calibration}: was made without labels, so it has no "
            "directions; leave it out, or name one of memscan calibrate --labels"
        )
    directions = {
        name: confirmed * SIGNALS[name].memorized
        for name, confirmed in confirmed_directions(evaluation).items()
    }
    return directions, f"the labels of the calibration {config.calibration}"


def _held_out(config: ExplainConfig) -> list[str]:
    from scanner.evidence.explain import PLAIN, read_captions, spread

    if config.band is None and config.model == "testbed":
        from scanner.testbed import labels

        rows = labels().to_pylist()
        captions = [row["caption"] for row in rows if row["group"] == "heldout"]
    else:
        captions = read_captions(config.band or str(PLAIN))
    return spread(captions, config.band_size, without=config.caption)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--png {folder}: cannot be made: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
