"""All of it on the small model in this package: write its data set, scan it, compare the scores
with what the model has truly memorized, calibrate by that, and rank.

Example: memscan demo --out memscan-demo
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.escaping import printable
from jobs.findings import print_heading, print_separation, print_separations
from jobs.progress import ScanProgress
from jobs.terminal import command, print_json, quiet_libraries, show, warn
from scanner.scoring.spec import ProfileName

if TYPE_CHECKING:
    from scanner.calibration import Findings, Layers, Separation
    from scanner.query import RunTables
    from scanner.scan.opening import ScanResult

ACTORS = 2
SHOWN = 20


@dataclass(frozen=True)
class DemoConfig:
    """Where to, and how thorough."""

    out: Path = Path("memscan-demo")
    """The directory for the data set and the run."""
    profile: ProfileName = "standard"
    """Which signals are computed; trajectory has every one, and takes its time."""
    seeds: int | None = None
    """How many initial noises are averaged; the profile's by default."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(DemoConfig, "demo", __doc__, _demo, arguments)


def _demo(config: DemoConfig) -> int:
    from jobs.report import ReportConfig, write_report
    from scanner.calibration import (
        Labels,
        by_layer,
        calibrate,
        findings_record,
        match,
        write_calibration,
    )
    from scanner.query import open_run
    from scanner.testbed import files

    result, place = _scan(config)
    tables = open_run(place)
    labelled = match(tables, Labels.of(files.labels()))
    found, calibration = calibrate(tables, labelled)
    layers = by_layer(tables, labelled)
    written = str(config.out / f"calibration-{config.profile}.json")
    write_calibration(written, calibration, findings_record(found))
    labels = str(config.out / "data" / "labels.csv")
    page, removal = config.out / f"report-{config.profile}.html", config.out / "removal"
    write_report(
        ReportConfig(place, str(page), written, labels),
        f"memscan report {place} --calibration {written} --labels {labels} --out {page}",
    )
    for complaint in result.complaints:
        warn(complaint)
    samples = result.manifest["counts"]["samples"]
    if config.json:
        record = {"run": place, "samples": samples, "calibration": written, "report": str(page)}
        print_json(record | _evaluation_record(found, layers))
    else:
        show(
            f"\n{samples:,} samples, {found.captions:,} distinct captions (held-out ones among "
            f"them), {found.memorized} truly memorized\n"
        )
        _print_evaluation(found, layers)
        _print_ranking(open_run(place, calibration=calibration))
        show(f"\ndata set     {config.out / 'data'}\nrun          {place}")
        show(f"calibration  {written}\nreport       {page}")
        show(f"next         memscan rank {place} --calibration {written}")
        show(f"             memscan verify {place} --top 20 --steps 20 --guidance 2")
        show(f"             memscan curate {place} --calibration {written} --out {removal}")
    return 3 if result.complaints else 0


def _evaluation_record(found: "Findings", layers: "Layers") -> dict[str, Any]:
    return {
        "captions": found.captions,
        "memorized": found.memorized,
        "signals": _records(found.signals),
        "combined": _records(found.combined),
        "layers": {name: [_record(one) for one in each] for name, each in layers.each.items()},
        "picked": {
            name: {"layer": one.layer, "way": one.way, "separation": _record(one.separation)}
            for name, one in layers.picked.items()
        },
        "text_only": _records(found.text_only),
    }


def _scan(config: DemoConfig) -> "tuple[ScanResult, str]":
    """Write the data set, scan it; the result and the run's place."""
    import shutil

    from scanner.scan.config import ScanConfig
    from scanner.scan.scan import scan
    from scanner.testbed import files

    quiet_libraries()
    data, place = config.out / "data", str(config.out / f"run-{config.profile}")
    data.mkdir(parents=True, exist_ok=True)
    for source in (files.TRAIN, files.HELDOUT, files.LABELS):
        shutil.copyfile(source, data / source.name)
    options = ScanConfig(
        captions=(str(data / files.TRAIN.name),),
        reference=(str(data / files.HELDOUT.name),),
        out=place,
        model="testbed",
        profile=config.profile,
        seeds=config.seeds,
        actors=ACTORS,
    )
    with ScanProgress() as progress:
        return scan(options, progress), place


def _records(found: "dict[str, Separation]") -> dict[str, Any]:
    return {name: _record(one) for name, one in found.items()}


def _record(one: "Separation") -> dict[str, float]:
    at = one.at[0.01]
    return {
        "auc": one.auc,
        "auc_low": one.auc_low,
        "auc_high": one.auc_high,
        "tpr_at_1pct_fpr": at.tpr,
        "tpr_low": at.tpr_low,
        "tpr_high": at.tpr_high,
    }


def _print_evaluation(found: "Findings", layers: "Layers") -> None:
    print_heading()
    print_separations("signals", found.signals)
    print_separations(
        "all signals combined, each caption by a model that saw none like it (memscan calibrate)",
        found.combined,
    )
    print_separations("without the model", found.text_only)
    show(
        "a layer picked on half of the captions, reported on the other half (-5: lower in layer 5)"
    )
    for name, best in layers.picked.items():
        print_separation(f"{name} {'+' if best.way > 0 else '-'}{best.layer}", best.separation)
    show("AUC by layer, in the order in which the U-Net runs them")
    for name, each in layers.each.items():
        show(f"  {name:22}" + " ".join(f"{one.auc:.2f}" for one in each))


def _print_ranking(tables: "RunTables") -> None:
    from scanner.query import rank
    from scanner.testbed import files

    show(
        f"\nThe first {SHOWN} by the combination's log odds, fitted on these very captions, with "
        "the words\nthat carry the attention in [ ]\n"
    )
    memorized = dict(
        zip(*(files.labels()[name].to_pylist() for name in ("caption", "memorized")), strict=True)
    )
    for row in rank(tables, top=SHOWN).to_pylist():
        truth = "memorized" if memorized.get(row["caption"]) else "not memorized"
        numbers = f"{row['rank']:3} {row['score']:8.2f}  {truth:14} {row['n_samples']:4} x"
        show(f"{numbers}  {_marked(row)}")


def _marked(row: dict[str, Any]) -> str:
    """The caption with its trigger words in brackets."""
    text, done, pieces = row["caption"], 0, []
    for word in sorted(row["triggers"], key=lambda word: word["start"]):
        pieces += [text[done : word["start"]], "[", text[word["start"] : word["end"]], "]"]
        done = word["end"]
    return printable("".join([*pieces, text[done:]]))


if __name__ == "__main__":
    sys.exit(main())
