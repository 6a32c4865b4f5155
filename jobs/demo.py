"""Run the whole pipeline on a small model in this package.

Writes the model's data set, scans it, evaluates the scores against ground truth, fits a
calibration, ranks the captions and writes a report.

Example: memscan demo --out memscan-demo
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.console.calibration_output import print_separation, print_tables
from jobs.console.escaping import printable
from jobs.console.progress import ScanProgress
from jobs.console.terminal import command, load_libraries, next_step, print_json, show, warn
from scanner.scoring.spec import ProfileName

if TYPE_CHECKING:
    from scanner.calibration import LabelEvaluation, LayerEvaluation, Separation
    from scanner.query import RunTables
    from scanner.scan.results import ScanResult

ACTORS = 2
SHOWN = 20


@dataclass(frozen=True)
class DemoConfig:
    """Output directory, model and scan profile."""

    out: Path = Path("memscan-demo")
    """Directory for the data set, the run, the calibration and the report."""
    model: Literal["testbed", "testbed-dit"] = "testbed"
    """testbed: the small Stable Diffusion with a U-Net. testbed-dit: the small Stable Diffusion 3,
    a transformer trained on the same data."""
    profile: ProfileName = "standard"
    """Signals to compute; trajectory adds those of a whole denoising and takes about ten minutes;
    all computes every signal with two seeds, and takes more than twice as long."""
    seeds: int | None = None
    """Number of initial noises to average over; by default set by the profile."""
    json: bool = False
    """Print the result as JSON."""

    @property
    def variant(self) -> str:
        """Name of this model and profile in the names of files."""
        return self.profile if self.model == "testbed" else f"{self.model}-{self.profile}"


def main(arguments: Sequence[str] | None = None) -> int:
    return command(DemoConfig, "demo", __doc__, _demo, arguments)


def _demo(config: DemoConfig) -> int:
    load_libraries()

    from jobs.report import ReportConfig, write_report
    from scanner.calibration import (
        Labels,
        calibrate,
        evaluate_layers,
        evaluation_record,
        match_labels,
        write_calibration,
    )
    from scanner.query import open_run
    from scanner.testbed import files

    result, run = _scan(config)
    tables = open_run(run)
    labeled = match_labels(tables, Labels.from_table(files.labels(config.model)))
    evaluation, calibration = calibrate(tables, labeled)
    layers = evaluate_layers(tables, labeled)
    written = str(config.out / f"calibration-{config.variant}.json")
    write_calibration(written, calibration, evaluation_record(evaluation))
    labels = str(config.out / "data" / files.TESTBEDS[config.model].labels.name)
    page, removal = config.out / f"report-{config.variant}.html", config.out / "removal"
    write_report(
        ReportConfig(run, str(page), written, labels),
        f"memscan report {run} --calibration {written} --labels {labels} --out {page}",
    )
    for complaint in result.complaints:
        warn(complaint)
    samples = result.manifest["counts"]["samples"]
    if config.json:
        record = {"run": run, "samples": samples, "calibration": written, "report": str(page)}
        print_json(record | _evaluation_record(evaluation, layers))
    else:
        show(
            f"\n{samples:,} samples, {evaluation.captions:,} distinct captions (including held-out "
            f"ones), {evaluation.memorized} memorized\n"
        )
        _print_evaluation(evaluation, layers)
        _print_ranking(open_run(run, calibration=calibration), config.model)
        show(f"\ndata set     {config.out / 'data'}\nrun          {run}")
        show(f"calibration  {written}\nreport       {page}")
        next_step("memscan", "rank", run, "--calibration", written)
        next_step("memscan", "verify", run, "--top", "20", "--steps", "20", "--guidance", "2")
        next_step("memscan", "curate", run, "--calibration", written, "--out", str(removal))
    return 3 if result.complaints else 0


def _evaluation_record(evaluation: "LabelEvaluation", layers: "LayerEvaluation") -> dict[str, Any]:
    return {
        "captions": evaluation.captions,
        "memorized": evaluation.memorized,
        "signals": _by_class(evaluation, evaluation.signals),
        "combined": _by_class(evaluation, evaluation.combined),
        "layers": {
            name: [layer.to_json() for layer in each] for name, each in layers.all_layers.items()
        },
        "selected_layers": {
            name: {
                "layer": selected.layer,
                "direction": selected.direction,
                "separation": selected.separation.to_json(),
            }
            for name, selected in layers.selected.items()
        },
        "text_only": _by_class(evaluation, evaluation.text_only),
    }


def _scan(config: DemoConfig) -> "tuple[ScanResult, str]":
    """Write the data set and scan it; return the result and the run's path."""
    import shutil

    from scanner.scan.config import ScanConfig
    from scanner.scan.scan import scan
    from scanner.testbed import files

    data, run = config.out / "data", str(config.out / f"run-{config.variant}")
    data.mkdir(parents=True, exist_ok=True)
    for source in (files.TRAIN, files.HELDOUT, files.TESTBEDS[config.model].labels):
        shutil.copyfile(source, data / source.name)
    options = ScanConfig(
        captions=(str(data / files.TRAIN.name),),
        reference=(str(data / files.HELDOUT.name),),
        out=run,
        model=config.model,
        profile=config.profile,
        seeds=config.seeds,
        actors=ACTORS,
    )
    with ScanProgress() as progress:
        return scan(options, progress), run


def _by_class(
    evaluation: "LabelEvaluation", separations: "dict[str, Separation]"
) -> dict[str, Any]:
    """Return the records by score, each with those of its classes under verbatim and template."""
    return {
        name: separation.to_json()
        | {
            kind: each.separations[name].to_json()
            for kind, each in evaluation.classes.items()
            if each.separations
        }
        for name, separation in separations.items()
    }


def _print_evaluation(evaluation: "LabelEvaluation", layers: "LayerEvaluation") -> None:
    print_tables(evaluation)
    show(
        "best layer, selected on half of the captions and reported on the other half\n"
        "(-5: layer 5, where lower values indicate memorization)"
    )
    for name, selected in layers.selected.items():
        sign = "+" if selected.direction > 0 else "-"
        print_separation(f"{name} {sign}{selected.layer}", selected.separation)
    show("AUC by layer, in execution order")
    for name, each in layers.all_layers.items():
        show(f"  {name:22}" + " ".join(f"{layer.auc:.2f}" for layer in each))


def _print_ranking(tables: "RunTables", model: str) -> None:
    from scanner.query import rank
    from scanner.testbed import files

    show(
        f"\nTop {SHOWN} by the combination's log odds (fitted on these same captions), trigger "
        "words in [ ]\n"
    )
    truth_of = files.labels(model)
    memorized = dict(
        zip(truth_of["caption"].to_pylist(), truth_of["memorized"].to_pylist(), strict=True)
    )
    for row in rank(tables, top=SHOWN).to_pylist():
        truth = "memorized" if memorized.get(row["caption"]) else "not memorized"
        numbers = f"{row['rank']:3} {row['score']:8.2f}  {truth:14} {row['n_samples']:4} x"
        show(f"{numbers}  {_marked(row)}")


def _marked(row: dict[str, Any]) -> str:
    """Return the caption with its trigger words in brackets."""
    text, done, pieces = row["caption"], 0, []
    for word in sorted(row["triggers"], key=lambda word: word["start"]):
        pieces += [text[done : word["start"]], "[", text[word["start"] : word["end"]], "]"]
        done = word["end"]
    return printable("".join([*pieces, text[done:]]))


if __name__ == "__main__":
    sys.exit(main())
