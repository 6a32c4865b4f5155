"""Study which signals separate memorized captions on a diffusion transformer.

Trains the small transformer with other seeds, scans the testbed's captions with each model, and
compares the scores with what each model reproduces. Models and scans are stored in OUT: rerun the
same command to resume. Writes joint_attention.md.

Training takes about an hour per model on one core; give --seeds to train some of them in another
process. Seed 0 is the packaged model.

Example: python -m jobs.studies.joint_attention --out study --seeds 1
         python -m jobs.studies.joint_attention --out study
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.console.terminal import command, load_libraries, show

SEEDS = (0, 1, 2)
PAGE = "joint_attention.md"


@dataclass(frozen=True)
class JointAttentionConfig:
    """Output directory and training seeds."""

    out: Path
    """Output directory for models, scans and joint_attention.md."""
    seeds: tuple[int, ...] = SEEDS
    """Training seeds to train, scan and report."""
    trajectory: bool = False
    """Also measure the packaged model's signals of the trajectory, at 20 forwards per caption."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(JointAttentionConfig, "jobs.studies.joint_attention", __doc__, _study, arguments)


def _study(config: JointAttentionConfig) -> int:
    from jobs.studies.joint_attention import measurements, page

    load_libraries()
    evaluations = []
    for seed in config.seeds:
        measurements.train(config.out, seed)
        evaluations.append(measurements.measure(config.out, seed, config.trajectory))
    text = page.render(evaluations)
    (config.out / PAGE).write_text(text, encoding="utf-8")
    show(text)
    return 0
