"""Explain one caption: attention, scores and trigger words.

Writes a page with the model's attention per token, layer, step and image region, the caption's
scores compared with held-out captions, and the words that they are attributed to.

Example: memscan explain "a caption" --model testbed --out explain.html
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from jobs.console.calibrations import evaluation_of, named_calibration
from jobs.console.early_checks import check_calibration, check_files
from jobs.console.escaping import printable
from jobs.console.output import write_out
from jobs.console.terminal import command, load_libraries, print_json, show
from scanner.errors import UsageError, UserError
from scanner.models.device.device_option import check_device
from scanner.models.files.packaged import PACKAGED
from scanner.models.spec import DEFAULT_MODEL, ModelOptions
from scanner.scoring.spec import DenoisingOptions


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(DenoisingOptions, ModelOptions):
    """Caption, held-out captions and output."""

    caption: Annotated[str, tyro.conf.Positional]
    """The caption, as in the training set."""
    out: str = "explain.html"
    """Path or URL of the page, one self-contained HTML file."""
    png: Path | None = None
    """Also write every chart and heat map as a PNG file to this directory."""
    seed: int = 0
    """Seed of the initial noise for the image and the charts of its denoising. Does not affect the
    scores, which equal those of a scan with --seeds 1."""
    band: str | None = None
    """File or URL of comparison captions that the model was not trained on: a table in a format
    that scan reads, or text with one caption per line; default: the testbed's held-out
    captions for testbed, otherwise forty generic captions in this package."""
    band_size: int = 40
    """Maximum number of comparison captions; each costs as much as the caption itself."""
    calibration: str | None = None
    """Take each signal's direction from the labels of this calibration of the model (a file
    written by memscan calibrate, or testbed); by default the published direction."""
    json: bool = False
    """Print the content of the page except images as JSON."""

    def check(self) -> None:
        """Raise UsageError for invalid options."""
        check_device(self.device, takes_number=True)
        if self.band_size < 0:
            raise UsageError(f"--band-size {self.band_size}: must be at least 0")
        if self.steps < 1:
            raise UsageError(f"--steps {self.steps}: must be at least 1")
        try:
            self.caption.encode()
        except UnicodeEncodeError as error:
            raise UsageError("the caption is not valid UTF-8") from error


def main(arguments: Sequence[str] | None = None) -> int:
    return command(ExplainConfig, "explain", __doc__, _explain, arguments)


def _explain(config: ExplainConfig) -> int:
    config.check()
    config = replace(config, model=config.model or DEFAULT_MODEL)

    config.model_spec.check_names()
    check_files("--band", [config.band])
    check_calibration(config.calibration)
    if config.png:
        _make_folder(config.png)
    load_libraries()

    from scanner.evidence.explain import explain, render_explanation, write_png_files
    from scanner.models import find_model, load_decoder, load_model

    held_out = _held_out(config)
    files = find_model(config.model_spec)
    files.refuse_only_scanned("explain")
    model = load_model(files, device=config.device)
    directions, directions_from = _directions(config, model.weights)
    explanation = explain(
        model,
        load_decoder(files, str(model.device)),
        config.caption,
        held_out,
        config.scoring_spec,
        config.seed,
        directions,
        directions_from,
    )
    text = render_explanation(explanation, config.model).encode()
    write_out(config.out, lambda file: file.write(text))
    written = write_png_files(explanation, config.png) if config.png else []
    if config.json:
        record = explanation.record()
        print_json({**record, "out": config.out, "pictures": [str(path) for path in written]})
        return 0
    for score in explanation.scores:
        position = f"{score.position}: {score.evidence}" if score.evidence else ""
        show(f"{score.name:18}{score.value:8.4g}  {printable(position)}".rstrip())
    if explanation.evidence:
        show(f"evidence          {printable(explanation.evidence)}")
    show(f"page              {config.out}")
    if config.png:
        show(f"images            {len(written)} in {config.png}")
    return 0


def _directions(config: ExplainConfig, weights: str) -> tuple[dict[str, int] | None, str]:
    """Return the signals' directions by --calibration, and their source. Raises UserError."""
    from scanner.calibration import confirmed_directions
    from scanner.evidence.explain import PUBLISHED
    from scanner.scoring.catalog import SIGNALS

    calibration = named_calibration(config.calibration)
    if calibration is None:
        return None, PUBLISHED
    if calibration.binding.get("weights") != weights:
        raise UserError(
            f"--calibration {config.calibration}: was made for other weights than --model has; "
            "use a calibration of this model"
        )
    evaluation = evaluation_of(config.calibration)
    if evaluation is None:
        raise UserError(
            f"--calibration {config.calibration}: was made without labels, so it has no "
            "directions; omit it, or use one of memscan calibrate --labels"
        )
    directions = {
        name: confirmed * SIGNALS[name].memorized
        for name, confirmed in confirmed_directions(evaluation).items()
    }
    return directions, f"the labels of the calibration {config.calibration}"


def _held_out(config: ExplainConfig) -> list[str]:
    from scanner.evidence.explain import DEFAULT_CAPTIONS, pick_held_out, read_captions

    if config.band is None and config.model in PACKAGED:
        from scanner.testbed import labels

        rows = labels(config.model).to_pylist()
        captions = [row["caption"] for row in rows if row["group"] == "heldout"]
    else:
        captions = read_captions(config.band or str(DEFAULT_CAPTIONS))
    return pick_held_out(captions, config.band_size, exclude=config.caption)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--png {folder}: cannot be created: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
