"""Measure what mitigation does to the small model of the demo.

Generates memorized and other captions with each setting and without mitigation, over several seeds;
varies the dose of each intervention in both directions, with sham interventions on other tokens as
controls; fine-tunes on a set with repeats, with and without the guard; and measures the operations
and time that mitigation adds to Stable Diffusion 1.4's full-size U-Net. Settings are chosen on one
half of the captions and reported on the other.

Each task's table is stored in OUT: rerun the same command to resume. Writes tables (parquet and
csv), plots and findings.md.

Example: python -m jobs.studies.mitigation --out study
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
class MitigationStudyConfig:
    """Size of the study and output directory."""

    out: Path
    """Output directory for intermediate results, tables, plots and findings."""
    memorized: int = 48
    """Number of memorized captions in each half."""
    others: int = 36
    """Number of captions in each half that are not memorized (once, repeated, held out)."""
    seeds: int = 2
    """Number of seeds per caption in the reported half."""
    tuning_steps: int = 250
    """Training steps per fine-tuning run."""
    time_pairs: int = 20
    """Number of timed pairs of forwards of the full-size U-Net; 0 skips the timing."""
    cost_only: bool = False
    """Only measure the operations and time that mitigation adds to the full-size U-Net."""
    workers: int = usable_cores()
    """Number of parallel processes, one core each."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(MitigationStudyConfig, "jobs.studies.mitigation", __doc__, _study, arguments)


def _study(config: MitigationStudyConfig) -> int:
    from jobs.studies.mitigation import analysis, experiments, findings, tasks

    quiet_libraries()
    if config.cost_only:
        print_json(_cost(config))
        return 0
    sizes = _check_sizes(config)
    grouped = experiments.build_tasks(
        config.memorized, config.others, config.seeds, config.tuning_steps
    )
    folder = config.out / "tasks"
    everything = [task for experiment in grouped.values() for task in experiment]
    tasks.run_tasks(folder, everything, config.workers)
    result = analysis.analyze(
        *(tasks.read_tasks(folder, grouped[name]) for name in ("mitigations", "doses", "tuning"))
    )
    cost = _cost(config)
    findings.write_findings(config.out, result, cost, sizes)
    record = {**result.summary, **cost, "out": str(config.out)}
    if config.json:
        print_json(record)
    else:
        show((config.out / "findings.md").read_text(encoding="utf-8"))
    return 0


def _cost(config: MitigationStudyConfig) -> dict[str, Any]:
    """Return the overhead on the full-size U-Net; timings are stored and reused."""
    from jobs.studies.mitigation import overhead

    cost: dict[str, Any] = {"added_operations": overhead.added_operations()}
    if config.time_pairs:
        stored = config.out / f"time-{config.time_pairs}.json"
        if not stored.exists():
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_text(json.dumps(overhead.time_ratio(config.time_pairs)), encoding="utf-8")
        cost |= json.loads(stored.read_text(encoding="utf-8"))
    return cost


def _check_sizes(config: MitigationStudyConfig) -> dict[str, int]:
    """Store and return the study's sizes. Raises UsageError if OUT holds a study of other sizes."""
    config.out.mkdir(parents=True, exist_ok=True)
    names = ("memorized", "others", "seeds", "tuning_steps")
    sizes = {name: value for name, value in dataclasses.asdict(config).items() if name in names}
    stored = config.out / "study.json"
    if not stored.exists():
        stored.write_text(json.dumps(sizes), encoding="utf-8")
    elif json.loads(existing := stored.read_text(encoding="utf-8")) != sizes:
        raise UsageError(
            f"--out {config.out}: holds a study of other sizes ({existing}); give the same "
            "options or another directory"
        )
    return sizes
