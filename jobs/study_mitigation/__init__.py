"""Mitigation put to the test on the small model of the demo.

Memorized and other captions without mitigation and with each setting, over seeds; doses of what the
mitigation does, in both directions, beside sham changes of other tokens; fine-tuning on a set with
repeats with and without the guard; and the time and operations it costs on Stable Diffusion 1.4's
full-size U-Net. Settings are chosen on one half of the captions and reported on the other.

Each piece is kept in OUT: what is killed goes on where it stopped. Writes tables (parquet and csv),
figures and findings.md.

Example: memscan study-mitigation --out study
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.terminal import command, print_json, quiet_libraries, show
from scanner.cores import usable_cores
from scanner.errors import UsageError


@dataclass(frozen=True)
class StudyConfig:
    """How large, and where to."""

    out: Path
    """Directory for the pieces, tables, figures and findings."""
    memorized: int = 48
    """Memorized captions in each half."""
    others: int = 36
    """Captions that are not memorized in each half: trained once, repeated, held out."""
    seeds: int = 2
    """Seeds a caption in the half that is reported."""
    tuning_steps: int = 250
    """Steps of each fine-tuning."""
    time_pairs: int = 20
    """Pairs of forwards timed on the full-size U-Net; 0 leaves the timing out."""
    cost_only: bool = False
    """Only count and time what mitigation costs on the full-size U-Net."""
    workers: int = usable_cores()
    """Processes at once, a core each."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(StudyConfig, "study-mitigation", __doc__, _study, arguments)


def _study(config: StudyConfig) -> int:
    from jobs.study_mitigation import analysis, findings, pieces, plan

    quiet_libraries()
    if config.cost_only:
        print_json(_cost(config))
        return 0
    sizes = _remember(config)
    parts = plan.parts(config.memorized, config.others, config.seeds, config.tuning_steps)
    folder = config.out / "pieces"
    everything = [piece for part in parts.values() for piece in part]
    pieces.run_pieces(folder, everything, config.workers)
    found = analysis.analyse(
        *(pieces.read_pieces(folder, parts[name]) for name in ("strengths", "doses", "tuning"))
    )
    cost = _cost(config)
    findings.write(config.out, found, cost, sizes)
    record = {**found.summary, **cost, "out": str(config.out)}
    if config.json:
        print_json(record)
    else:
        show((config.out / "findings.md").read_text(encoding="utf-8"))
    return 0


def _cost(config: StudyConfig) -> dict[str, Any]:
    """What mitigation costs on the full-size U-Net; timed once, and kept."""
    from jobs.study_mitigation import speed

    cost: dict[str, Any] = {"added_operations": speed.added_operations()}
    if config.time_pairs:
        kept = config.out / f"time-{config.time_pairs}.json"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(speed.time_ratio(config.time_pairs)), encoding="utf-8")
        cost |= json.loads(kept.read_text(encoding="utf-8"))
    return cost


def _remember(config: StudyConfig) -> dict[str, int]:
    """The sizes asked for. Refuses a directory with pieces of another size."""
    config.out.mkdir(parents=True, exist_ok=True)
    names = ("memorized", "others", "seeds", "tuning_steps")
    sizes = {name: value for name, value in dataclasses.asdict(config).items() if name in names}
    kept = config.out / "study.json"
    if not kept.exists():
        kept.write_text(json.dumps(sizes), encoding="utf-8")
    elif json.loads(there := kept.read_text(encoding="utf-8")) != sizes:
        raise UsageError(
            f"--out {config.out}: holds a study of other sizes ({there}); give the same "
            "options, or another directory"
        )
    return sizes
