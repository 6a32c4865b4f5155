"""Measure what mitigation does to the small model of the demo.

Generates memorized and other captions with each setting and without mitigation, over several seeds;
varies the dose of each intervention in both directions, with sham interventions on other tokens as
controls; fine-tunes on a set with repeats, with guards, without, and with an oracle that drops
exactly the repeated samples; and measures the operations
and time that mitigation adds to Stable Diffusion 1.4's full-size U-Net. Settings are chosen on one
half of the captions and reported on the other.

Each task's table is stored in OUT: rerun the same command to resume. Writes tables (parquet and
csv), plots, findings.md and tuning.md.

Example: python -m jobs.studies.mitigation --out study
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.console.terminal import command, load_libraries, print_json, show
from scanner.cores import usable_cores

GENERATION = ("memorized", "others", "seeds")
TUNING = ("tuning_steps", "tuning_seeds")


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
    tuning_steps: int = 400
    """Training steps per fine-tuning run."""
    tuning_seeds: int = 2
    """Number of training seeds per fine-tuning run."""
    tuning_only: bool = False
    """Only fine-tune."""
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
    from jobs.studies.mitigation import analysis, experiments, findings, tasks, tuning

    load_libraries()
    if config.cost_only:
        print_json(_cost(config))
        return 0
    folder = config.out / "tasks"
    sizes = tasks.check_sizes(config.out, config, GENERATION + TUNING)
    tuned = experiments.tuning_tasks(config.tuning_steps, config.tuning_seeds)
    grouped = experiments.generation_tasks(config.memorized, config.others, config.seeds)
    generated = [] if config.tuning_only else [task for each in grouped.values() for task in each]
    tasks.run_tasks(folder, [*tuned, *generated], config.workers)
    table = tuning.analyze(tasks.read_tasks(folder, tuned))
    tuning.write(config.out, table, {name: sizes[name] for name in TUNING})
    record: dict[str, Any] = {"tuning": tuning.summary(table), "out": str(config.out)}
    pages = ["tuning.md"]
    if not config.tuning_only:
        result = analysis.analyze(*(tasks.read_tasks(folder, each) for each in grouped.values()))
        cost = _cost(config)
        of_generation = {name: sizes[name] for name in GENERATION}
        findings.write_findings(config.out, result, cost, of_generation)
        record = {**result.summary, **cost, **record}
        pages.insert(0, "findings.md")
    if config.json:
        print_json(record)
    else:
        show("\n".join((config.out / page).read_text(encoding="utf-8") for page in pages))
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
