"""Score samples: which images does the model denoise better with their caption?

For each distinct pair of a chosen caption and an image of its samples: clid, the conditional
likelihood discrepancy (Zhai et al. 2024). It is the denoising error without the caption minus that
with it, averaged over noises and noise levels; higher for images that the model was trained on with
the caption. Adds the scores to the run as the view sample_scores; memscan curate keeps the sample
with the lowest. A high clid says that the model knows the pair (membership), not that it reproduces
the image (memorization): memscan verify generates to find out. Rerun the same command to resume.

Examples: memscan score-samples RUN --where "probability >= 0.5" --calibration calibration.json
          memscan score-samples RUN --where true --top 1000
          memscan score-samples RUN --where "n_samples > 10" --images 's3://bucket/{key}.jpg'
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from jobs.console.calibrations import named_calibration
from jobs.console.early_checks import check_calibration, check_model, check_run
from jobs.console.logs import LogOptions
from jobs.console.progress import ImagesProgress
from jobs.console.terminal import command, load_libraries, next_step, print_json, show, warn
from scanner.evidence.score_samples.config import ScoreSamplesConfig


@dataclass(frozen=True)
class ScoreSamplesCommand(ScoreSamplesConfig, LogOptions):
    """Which samples to score, and how messages are written."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(ScoreSamplesCommand, "score-samples", __doc__, _score, arguments)


def _score(config: ScoreSamplesConfig) -> int:
    config.check()
    check_run(config.run)
    check_model(config.model)
    check_calibration(config.calibration)
    load_libraries()

    from scanner.evidence.score_samples.drive import score_samples

    with ImagesProgress("pairs scored") as progress:
        result = score_samples(config, progress, named_calibration(config.calibration))
    if config.json:
        print_json(asdict(result))
    else:
        show(
            f"{result.pairs:,} distinct pairs of a caption and an image, of {result.samples:,} "
            f"samples: {result.scored:,} scored"
        )
        if result.images_per_second:
            show(f"{result.images_per_second:.1f} images per second")
        show(f"scores in {result.out}")
        show(
            "a high clid says that the model was trained on the image with the caption, not that "
            "it reproduces the image; memscan verify generates to find out"
        )
        query = "FROM sample_scores ORDER BY clid DESC LIMIT 20"
        next_step("memscan", "sql", config.run, query)
    if result.missing_images:
        warn(f"{result.missing_images:,} pairs have no score: image not found; see --images")
    if result.rejected:
        warn(f"{result.rejected:,} pairs have no score: the model's output is not finite")
    for complaint in result.complaints:
        warn(complaint)
    return 3 if result.quarantined else 0


if __name__ == "__main__":
    sys.exit(main())
