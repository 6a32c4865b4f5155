"""All of it on the small model in this package: write its data set, scan it, rank it, and compare
the scores with what the model has truly memorized.

Example: memscan demo --out memscan-demo
"""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.terminal import ScanProgress, parse, print_json, printable, quiet_libraries, run, say

if TYPE_CHECKING:
    from scanner.calibration import Evaluation, Separation

ACTORS = 2
SHOWN = 20


@dataclass(frozen=True)
class DemoConfig:
    """Where to, and how thorough."""

    out: Path = Path("memscan-demo")
    """The directory for the data set and the run."""
    profile: Literal["triage", "standard", "thorough", "trajectory"] = "standard"
    """Which signals are computed; trajectory has every one, and takes its time."""
    seeds: int | None = None
    """How many initial noises are averaged; the profile's by default."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    def body() -> int:
        words = sys.argv[1:] if arguments is None else arguments
        return _demo(parse(DemoConfig, "demo", str(__doc__), words))

    return run(body)


def _demo(config: DemoConfig) -> int:
    import shutil

    from scanner.calibration import evaluate
    from scanner.query import open_run, rank
    from scanner.scan.config import ScanConfig
    from scanner.scan.drive import scan
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
    progress = ScanProgress()
    try:
        result = scan(options, say, progress)
    finally:
        progress.close()
    tables = open_run(place)
    found = evaluate(tables, files.labels())
    counts = result.manifest["counts"]
    for complaint in result.complaints:
        say(f"memscan: {complaint}")
    status = 3 if result.complaints else 0
    if config.json:
        print_json(
            {
                "run": place,
                "captions": found.captions,
                "samples": counts["samples"],
                "memorized": found.memorized,
                "signals": _records(found.signals),
                "layers": {
                    name: [dataclasses.asdict(one) for one in each]
                    for name, each in found.layers.items()
                },
                "picked": {name: dataclasses.asdict(one) for name, one in found.picked.items()},
                "text_only": _records(found.text_only),
                "report": None,
            }
        )
        return status
    print(
        f"\n{counts['samples']:,} samples, {found.captions:,} distinct captions (held-out ones "
        f"among them), {found.memorized} truly memorized\n"
    )
    _print_separations(found)
    print(f"\nThe first {SHOWN} of the ranking, with the words that carry the attention in [ ]\n")
    memorized = dict(
        zip(*(files.labels()[name].to_pylist() for name in ("caption", "memorized")), strict=True)
    )
    for row in rank(tables, top=SHOWN).to_pylist():
        truth = "memorized" if memorized.get(row["caption"]) else "not memorized"
        numbers = f"{row['rank']:3} {row['score']:8.2f}  {truth:14} {row['n_samples']:4} x"
        print(f"{numbers}  {_marked(row)}")
    print(f"\ndata set  {data}\nrun       {place}\nnext      memscan rank {place}")
    print(f'          memscan sql {place} "SELECT * FROM ranked LIMIT 5"')
    return status


def _records(found: "dict[str, Separation]") -> dict[str, Any]:
    return {name: dataclasses.asdict(one) for name, one in found.items()}


def _print_separations(found: "Evaluation") -> None:
    print(f"{'':24}{'AUC':>6}  {'95 % interval':>14}  {'TPR at 1 % FPR':>15}")
    for title, group in (("signals", found.signals), ("without the model", found.text_only)):
        print(title)
        for name, one in group.items():
            _print_row(name, one)
    print("a layer and direction picked on half of the captions, reported on the other half")
    for name, best in found.picked.items():
        label = f"{name} {'+' if best.way > 0 else '-'}{best.layer}"
        _print_row(label, best.separation)
    print("AUC by layer, in the order in which the U-Net runs them")
    for name, each in found.layers.items():
        print(f"  {name:22}" + " ".join(f"{one.auc:.2f}" for one in each))


def _print_row(name: str, one: "Separation") -> None:
    interval = f"{one.auc_low:.3f} – {one.auc_high:.3f}"
    print(f"  {name:22}{one.auc:6.3f}  {interval:>14}  {one.tpr_at_1pct_fpr:15.3f}")


def _marked(row: dict[str, Any]) -> str:
    """The caption with its trigger words in brackets."""
    text, done, pieces = row["caption"], 0, []
    for word in sorted(row["triggers"], key=lambda word: word["start"]):
        pieces += [text[done : word["start"]], "[", text[word["start"] : word["end"]], "]"]
        done = word["end"]
    return printable("".join([*pieces, text[done:]]))


if __name__ == "__main__":
    sys.exit(main())
