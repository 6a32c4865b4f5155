"""Compare the methods of mitigation on a testbed.

Generates memorized and other captions with each method at several strengths and without, over
several seeds. The setting that changes other captions least among those that stop most copies is
chosen on one half of the captions and reported on the other.

With --adversarial, instead attacks the captions of the second half under --methods, and after
training on without the memorized samples: which only hide copies, and which remove them. Attacks on
the first half's captions that are not memorized tell which radius is too large. Writes
adversarial.csv and adversarial.md in OUT/adversarial.

Each task's table is stored in OUT: rerun the same command to resume. Writes methods.csv,
methods.png and findings.md.

Examples: python -m jobs.studies.mitigation_methods --out study --testbed testbed
          python -m jobs.studies.mitigation_methods --out study --adversarial --memorized 12
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.console.terminal import command, load_libraries, print_json, show
from scanner.cores import usable_cores
from scanner.errors import UsageError

if TYPE_CHECKING:
    from jobs.studies.mitigation.evaluator import StudyCaption

BEST = ("embedding", "basin", "guard")
"""The methods with which fewest memorized captions are reproduced (findings/methods.md)."""


@dataclass(frozen=True)
class MethodStudyConfig:
    """Size of the study and output directory."""

    out: Path
    """Output directory for intermediate results, table, plot and findings."""
    testbed: str = "testbed"
    """The packaged model: testbed (a U-Net) or testbed-dit (a transformer)."""
    memorized: int = 24
    """Number of memorized captions in each half."""
    others: int = 18
    """Number of captions in each half that are not memorized (once, repeated, held out)."""
    seeds: int = 2
    """Number of seeds per caption in the reported half."""
    methods: tuple[str, ...] = ()
    """Only these methods; by default all that the model has (with --adversarial: embedding, basin
    and guard, with which fewest copies are left)."""
    adversarial: bool = False
    """Attack captions under the methods' default settings; see above."""
    radii: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    """With --adversarial: radii to compare on captions that are not memorized."""
    neighbors: int = 2
    """With --adversarial: words to try in place of each word."""
    tuning_steps: int = 300
    """With --adversarial: steps of training on without the memorized samples; 0 leaves this out."""
    cost_only: bool = False
    """Only measure operations and time on Stable Diffusion 1.4's full-size U-Net (random weights,
    256 px, three steps), and print them."""
    pairs: int = 3
    """With --cost-only: number of timed pairs of generations per method; 0 counts operations
    only."""
    workers: int = usable_cores()
    """Number of parallel processes, one core each."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(MethodStudyConfig, "jobs.studies.mitigation_methods", __doc__, _study, arguments)


def _study(config: MethodStudyConfig) -> int:
    from jobs.studies.mitigation.evaluator import sample_captions
    from jobs.studies.mitigation.tasks import StudyTask, check_sizes, read_tasks, run_tasks
    from jobs.studies.mitigation_methods import comparison
    from jobs.studies.mitigation_methods.conditions import NONE, conditions_of, methods_of
    from jobs.studies.mitigation_methods.cost import measure_cost
    from jobs.studies.mitigation_methods.generation import generate
    from scanner.testbed.files import TESTBEDS

    load_libraries()
    if config.cost_only:
        print_json(measure_cost(config.methods or methods_of(config.testbed), config.pairs))
        return 0
    if config.testbed not in TESTBEDS:
        raise UsageError(f"--testbed {config.testbed}: must be {' or '.join(TESTBEDS)}")
    captions = sample_captions(config.memorized, config.others, config.testbed)
    if config.adversarial:
        return _attack(config, captions)
    sizes = check_sizes(config.out, config, ("testbed", "memorized", "others", "seeds"))
    halves = [[caption for caption in captions if caption.half == half] for half in (0, 1)]
    tasks = [
        StudyTask(
            f"half{half} seed{seed} {condition.name}",
            partial(generate, config.testbed, condition, seed, halves[half]),
        )
        for condition in (NONE, *conditions_of(config.testbed, config.methods))
        for half, seed in ((0, 0), *((1, seed) for seed in range(config.seeds)))
    ]
    folder = config.out / "tasks"
    run_tasks(folder, tasks, config.workers)
    result = comparison.compare(read_tasks(folder, tasks))
    comparison.write(config.out, result, sizes)
    if config.json:
        print_json({**result.summary, "out": str(config.out)})
    else:
        show((config.out / "findings.md").read_text(encoding="utf-8"))
    return 0


def _attack(config: MethodStudyConfig, captions: Sequence["StudyCaption"]) -> int:
    from jobs.studies.mitigation.tasks import StudyTask, check_sizes, read_tasks, run_tasks
    from jobs.studies.mitigation_methods import adversarial_page
    from jobs.studies.mitigation_methods.adversarial import TUNED, Attacked, attack
    from jobs.studies.mitigation_methods.conditions import NONE, MethodCondition, conditions_of
    from scanner.mitigation.adversary.options import AdversaryOptions

    out = config.out / "adversarial"
    names = ("testbed", "memorized", "others", "seeds", "radii", "neighbors", "tuning_steps")
    sizes = check_sizes(out, config, names)
    methods = config.methods or BEST
    conditions_of(config.testbed, methods)  # refuses unknown ones
    conditions = [NONE, *map(MethodCondition, methods), *([TUNED] * (config.tuning_steps > 0))]
    plans = [(0, NONE, AdversaryOptions(radius=radius, swaps=0)) for radius in config.radii]
    own = AdversaryOptions(neighbors=config.neighbors)
    plans += [(1, condition, own) for condition in conditions]
    tasks = [
        StudyTask(
            f"half{half} {condition.name} radius {options.radius:g}",
            partial(
                attack,
                config.testbed,
                Attacked(condition, options, config.seeds, config.tuning_steps),
                [c for c in captions if c.half == half and (half == 1 or not c.memorized)],
            ),
        )
        for half, condition, options in plans
    ]
    run_tasks(out / "tasks", tasks, config.workers)
    summary = adversarial_page.summarize(read_tasks(out / "tasks", tasks))
    adversarial_page.write(out, summary, sizes, AdversaryOptions.radius)
    if config.json:
        print_json({"conditions": summary, "out": str(out)})
    else:
        show((out / "adversarial.md").read_text(encoding="utf-8"))
    return 0
