"""Study which of a caption's images the sample score clid names, on a testbed.

Memorized captions of the testbed have one image each, so other images are planted under them: does
clid tell which one is reproduced? Captions of the group repeated have many images and reproduce
none: does clid tell those trained on from planted ones (membership)?
With --tuned-steps, the testbed is first fine-tuned on the memorized captions' rows and one row per
planted image, so that all images of a caption were trained on with it; OUT keeps the model. Prints
AUC with intervals from a bootstrap over captions, per noise level.

Example: python -m jobs.studies.sample_scores --model testbed-dit
         python -m jobs.studies.sample_scores --out tuned --tuned-steps 300
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.console.tables import print_table
from jobs.console.terminal import command, load_libraries, print_json, show
from scanner.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from scanner.evidence.score_samples.denoising import SampleErrors

LEVELS = (100, 300, 500, 700, 900)
BATCH = 64
KINDS = (
    "reproduced",
    "planted under memorized",
    "trained under repeated",
    "planted under repeated",
)
QUESTIONS = {
    "which image of a memorized caption is reproduced": (0, 1),
    "which images of a repeated caption were trained on": (2, 3),
    "is a trained pair reproduced (memorized against repeated captions)": (0, 2),
}
"""What is separated: two of KINDS, the first of which should have higher scores."""


@dataclass(frozen=True)
class SampleScoresConfig:
    """Model, size of the study, and fine-tuning."""

    model: str = "testbed"
    """testbed or testbed-dit."""
    captions: int = 24
    """Memorized captions; half as many repeated ones."""
    others: int = 4
    """Images planted under each caption, and trained images per repeated caption."""
    noises: int = 4
    """Noises per level."""
    tuned_steps: int = 0
    """Fine-tune the model for this many steps of 8 samples, one row per planted image included."""
    out: Path | None = None
    """Directory for the fine-tuned model, which is used again if it exists."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of a caption's and an image's number in the data set; ``kind``: number in KINDS."""

    caption: "np.ndarray"
    image: "np.ndarray"
    kind: "np.ndarray"


def main(arguments: Sequence[str] | None = None) -> int:
    return command(SampleScoresConfig, "jobs.studies.sample_scores", __doc__, _study, arguments)


def _study(config: SampleScoresConfig) -> int:
    if config.tuned_steps and not config.out:
        raise UsageError("--tuned-steps: needs --out, the directory for the model")
    load_libraries()
    from scanner.testbed.bank import bank_and_owners
    from scanner.testbed.files import DATA

    bank, own, groups = bank_and_owners(DATA)
    pairs = plant(own, groups["group"].to_pylist(), config.captions, config.others)
    captions = groups["caption"].to_pylist()
    model = config.model
    if config.out and config.tuned_steps:
        model = str(_tuned(config, config.out, captions, pairs))
    errors = _measure(model, bank, captions, pairs, config.noises)
    record: dict[str, Any] = {
        "model": model,
        "pairs": {kind: int((pairs.kind == k).sum()) for k, kind in enumerate(KINDS)},
        "levels": evaluate(errors, pairs),
    }
    if config.tuned_steps:
        chosen = sorted(set(pairs.caption[pairs.kind == 0].tolist()))
        record["reproduced"] = _reproduced(model, groups, bank, own, chosen)
    print_json(record) if config.json else _print(record)
    return 0


def plant(own: Sequence[set[int]], groups: Sequence[str], captions: int, others: int) -> Pairs:
    """Choose captions, their images and others that are planted under them, with a fixed seed."""
    import numpy as np

    random = np.random.default_rng(0)
    images = 1 + max(max(mine) for mine in own)
    rows: list[tuple[int, int, int]] = []
    for group, count, first in (("memorized", captions, 0), ("repeated", captions // 2, 2)):
        of_group = [number for number, name in enumerate(groups) if name == group]
        for caption in random.permutation(of_group)[:count].tolist():
            mine = sorted(own[caption])
            trained = random.permutation(mine)[:others] if first else mine
            foreign = random.permutation(np.setdiff1d(np.arange(images), mine))[:others]
            rows += [(caption, int(image), first) for image in trained]
            rows += [(caption, int(image), first + 1) for image in foreign]
    caption, image, kind = np.array(rows).T
    return Pairs(caption, image, kind)


def _measure(
    model: str, bank: Any, captions: Sequence[str], pairs: Pairs, noises: int
) -> "SampleErrors":
    import numpy as np

    from scanner.evidence.score_samples.denoising import SampleDenoiser
    from scanner.models import find_model, load_model
    from scanner.models.encoding import load_encoder

    files = find_model(model)
    denoiser = SampleDenoiser(
        load_model(files, device="cpu"), load_encoder(files, "cpu"), LEVELS, noises, BATCH
    )
    images, image = np.unique(pairs.image, return_inverse=True)
    texts, text = np.unique(pairs.caption, return_inverse=True)
    latents = denoiser.latents(bank[images])
    both = list(zip(image.tolist(), text.tolist(), strict=True))
    return denoiser.errors(latents, [captions[number] for number in texts], both)


def evaluate(errors: "SampleErrors", pairs: Pairs) -> dict[str, dict[str, Any]]:
    """Return by noise level ("mean": of all) and question the AUC, and the share of captions whose
    best image is of the first kind."""
    import numpy as np

    from scanner.calibration.evaluation.separation import separation

    by_level = errors.discrepancy_PSK.mean(-1).numpy().astype(float)
    scores = {str(level): by_level[:, k] for k, level in enumerate(LEVELS)}
    scores["mean"] = by_level.mean(1)
    result: dict[str, dict[str, Any]] = {}
    for name, values in scores.items():
        result[name] = {}
        for question, (high, low) in QUESTIONS.items():
            among = np.isin(pairs.kind, (high, low))
            is_high, caption = pairs.kind[among] == high, pairs.caption[among]
            found = separation(values[among], is_high, caption)
            both = np.intersect1d(caption[is_high], caption[~is_high])
            best = [
                bool(is_high[caption == one][values[among][caption == one].argmax()])
                for one in both
            ]
            result[name][question] = {
                **{key: value for key, value in asdict(found).items() if key != "at_fpr"},
                "best_is_first": sum(best),
                "captions": len(best),
                "means": [float(values[pairs.kind == kind].mean()) for kind in (high, low)],
            }
    return result


def _tuned(config: SampleScoresConfig, out: Path, captions: list[str], pairs: Pairs) -> Path:
    """Fine-tune the testbed on the memorized captions' rows and the planted pairs, unless that is
    done; return the model."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from jobs.finetune import main as finetune
    from scanner.testbed.files import HELDOUT, TRAIN

    if (out / "model" / "model_index.json").exists():
        return out / "model"
    table = pq.read_table(TRAIN)
    chosen = [captions[number] for number in sorted(set(pairs.caption[pairs.kind == 0].tolist()))]
    rows = table.filter(pc.is_in(table["caption"], pa.array(chosen)))
    images = _first_of_each(pa.concat_tables([table, pq.read_table(HELDOUT)]))
    planted = [
        {**images[image], "caption": captions[caption], "key": f"planted-{number}"}
        for number, (caption, image) in enumerate(
            zip(pairs.caption[pairs.kind == 1], pairs.image[pairs.kind == 1], strict=True)
        )
    ]
    out.mkdir(parents=True, exist_ok=True)
    data = pa.concat_tables([rows, pa.Table.from_pylist(planted, rows.schema)])
    pq.write_table(data, out / "data.parquet")
    words = ["--model", config.model, "--data", str(out / "data.parquet")]
    words += ["--steps", str(config.tuned_steps), "--rate", "1e-4", "--device", "cpu"]
    if finetune([*words, "--out", str(out / "model")]):
        raise UsageError(f"{out}: the fine-tuning failed")
    return out / "model"


def _first_of_each(rows: "pa.Table") -> list[dict[str, Any]]:
    """Return a row per image, in the order of the bank's numbers."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows.to_pylist():
        first.setdefault(row["url"], row)
    return list(first.values())


def _reproduced(model: str, groups: "pa.Table", bank: Any, own: Any, chosen: list[int]) -> str:
    """Return how many of the captions still reproduce their image."""
    from scanner.models import find_model
    from scanner.models.pipeline import load_pipeline
    from scanner.testbed.reproduction import measure

    pipe = load_pipeline(find_model(model), "float32", "cpu")
    table = measure(pipe, groups.take(chosen), bank, [own[number] for number in chosen])
    return f"{sum(table['memorized'].to_pylist())} of {len(chosen)}"


def _print(record: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {kind}" for kind, count in record["pairs"].items())
    show(f"{record['model']}: {counts}")
    if "reproduced" in record:
        show(f"captions that still reproduce their image: {record['reproduced']}")
    for question in QUESTIONS:
        show(f"\n{question}\n")
        rows = [
            {
                "level": level,
                "AUC": one["auc"],
                "95 % interval": f"{one['auc_low']:.3f} – {one['auc_high']:.3f}",
                "best image": f"{one['best_is_first']} of {one['captions']}",
                "means": " / ".join(f"{mean:.1f}" for mean in one["means"]),
            }
            for level, each in record["levels"].items()
            for one in [each[question]]
        ]
        print_table(rows, list(rows[0]))


if __name__ == "__main__":
    sys.exit(main())
