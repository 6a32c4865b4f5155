"""Study at which noise level one forward on pure noise separates memorized captions best.

Trains variants of the testbed model, scans the testbed's captions with each of them at ten
timesteps, three latent sizes, four seeds and four scales of the noise, and compares the scores with
what each model reproduces. Models and scans are stored in OUT: rerun the same command to resume.
Writes tables (csv), figures and findings.md.

Training takes about an hour per model on one core; give --models to train some of them in another
process. The page covers the models that are trained by then.

Example: python -m jobs.studies.late_step --out study --models joint frozen
         python -m jobs.studies.late_step --out study
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.console.terminal import command, load_libraries, show


@dataclass(frozen=True)
class LateStepConfig:
    """Output directory and models."""

    out: Path
    """Output directory for models, scans, tables, figures and findings.md."""
    models: tuple[str, ...] = ()
    """Models to train and measure; all by default. Writes no findings unless all are covered."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(LateStepConfig, "jobs.studies.late_step", __doc__, _study, arguments)


def _study(config: LateStepConfig) -> int:
    from jobs.studies.late_step import findings, measurements, models

    load_libraries()
    names = models.chosen(config.models)
    for name in names:
        models.train(config.out, name)
        measurements.measure(config.out, name)
    if set(names) == set(models.VARIANTS):
        findings.write_findings(config.out)
        show((config.out / "findings.md").read_text(encoding="utf-8"))
    return 0
