"""Build the study's tasks, grouped by experiment."""

from functools import partial

from jobs.studies.mitigation.conditions import DOSES, MITIGATIONS, NONE
from jobs.studies.mitigation.evaluator import sample_captions
from jobs.studies.mitigation.finetuning import finetune_and_measure, tuning_runs
from jobs.studies.mitigation.generation import generate
from jobs.studies.mitigation.tasks import StudyTask


def tuning_tasks(steps: int, seeds: int) -> list[StudyTask]:
    """Return the fine-tuning runs."""
    return [
        StudyTask(f"tuning seed{run.seed} {run.name}", partial(finetune_and_measure, run))
        for run in tuning_runs(steps, seeds)
    ]


def generation_tasks(memorized: int, others: int, seeds: int) -> dict[str, list[StudyTask]]:
    """Return the tasks per experiment.

    mitigations: half 0 with seed 0, to choose settings, and half 1
    with every seed. doses: half 1's memorized captions and those trained once, with seed 0.
    """
    captions = sample_captions(memorized, others)
    first, second = ([caption for caption in captions if caption.half == half] for half in (0, 1))
    dosed = [caption for caption in second if caption.memorized or caption.group == "once"]
    mitigations = [
        StudyTask(
            f"half{half} seed{seed} {condition.name}", partial(generate, condition, seed, subset)
        )
        for condition in (NONE, *MITIGATIONS)
        for half, seed, subset in (
            (0, 0, first),
            *((1, seed, second) for seed in range(seeds)),
        )
    ]
    doses = [
        StudyTask(f"dose {condition.name}", partial(generate, condition, 0, dosed))
        for condition in (NONE, *DOSES)
    ]
    return {"mitigations": mitigations, "doses": doses}
