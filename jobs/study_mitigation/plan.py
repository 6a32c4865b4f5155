"""Which pieces the study is made of."""

from dataclasses import replace
from functools import partial

from jobs.study_mitigation.conditions import DOSES, NONE, STRENGTHS
from jobs.study_mitigation.generation import generate
from jobs.study_mitigation.pieces import StudyTask
from jobs.study_mitigation.setting import subjects
from jobs.study_mitigation.tuned import RUNS, tune


def parts(memorized: int, others: int, seeds: int, steps: int) -> dict[str, list[StudyTask]]:
    """strengths: half 0 with seed 0, on which settings are chosen, and half 1 with all seeds;
    doses: memorized captions of half 1 and those trained once, seed 0; tuning. The dearest first.
    """
    chosen = subjects(memorized, others)
    first, second = ([one for one in chosen if one.half == half] for half in (0, 1))
    dosed = [one for one in second if one.memorized or one.group == "once"]
    strengths = [
        StudyTask(
            f"half{half} seed{seed} {condition.name}", partial(generate, condition, seed, some)
        )
        for condition in (NONE, *STRENGTHS)
        for half, seed, some in (
            (0, 0, first),
            *((1, seed, second) for seed in range(seeds)),
        )
    ]
    doses = [
        StudyTask(f"dose {condition.name}", partial(generate, condition, 0, dosed))
        for condition in (NONE, *DOSES)
    ]
    runs = [replace(one, steps=steps) for one in RUNS]
    tuning = [StudyTask(f"tuning {one.name}", partial(tune, one)) for one in runs]
    return {"tuning": tuning, "strengths": strengths, "doses": doses}
