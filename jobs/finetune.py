"""Fine-tune a model, optionally guarded against memorization.

Trains the U-Net or transformer in float32; text encoders and VAE are frozen. With --guard, samples
that look memorized (by their attention, loss or noise norm) are excluded from a step's loss, or
with --weights probability weigh less; OUT/excluded.parquet lists those whose weight fell below 0.5,
with the number of steps, mean weight and mean probability. Samples without a caption or a readable
image are skipped and counted; --json lists them. A run that is killed cannot be resumed.

Example: memscan finetune --model testbed --data images.parquet --out tuned --guard bos_mass
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.console.early_checks import check_files, check_model
from jobs.console.escaping import printable
from jobs.console.logs import LogOptions
from jobs.console.progress import Ticker
from jobs.console.terminal import command, load_libraries, print_json, show
from scanner.errors import UsageError
from scanner.mitigation.training_options import TrainingOptions
from scanner.models.device.device_option import check_device

if TYPE_CHECKING:
    from scanner.mitigation.guard import Guard
    from scanner.mitigation.training_images import TrainingImages
    from scanner.models import DiffusionModel

log = logging.getLogger("memscan")

SHOWN = 5


@dataclass(frozen=True)
class FinetuneConfig(LogOptions):
    """Data, model, training and guard."""

    data: str
    """Parquet file with captions and image bytes; a path or URL."""
    out: Path
    """Directory for the fine-tuned pipeline; must be new or empty."""
    model: str = "testbed"
    """Model to fine-tune: a hub id, directory or URL in the diffusers layout, or testbed."""
    training: TrainingOptions = dataclasses.field(default_factory=TrainingOptions)
    """Length, batch size and learning rate."""
    guard: Literal[
        "off",
        "entropy",
        "bos_mass",
        "prompt_mass",
        "summary_mass",
        "text_share",
        "loss",
        "noise_norm",
    ] = "off"
    """Exclude samples that look memorized according to this signal of the training forward;
    text_share needs joint attention; noise_norm costs one extra forward per step."""
    layers: tuple[int, ...] = (3,)
    """Attention layers that the guard reads, in execution order, for example 3 5."""
    direction: Literal["higher", "lower"] | None = None
    """Whether memorized samples have a higher or a lower signal; by default as published."""
    weights: Literal["threshold", "probability"] = "threshold"
    """threshold excludes samples beyond --threshold or --quantile; probability weights a sample by
    1 - P(memorized), estimated from the signal's distribution over the run's own samples."""
    cutoff: float | None = None
    """With --weights probability, exclude samples from this probability on, and weight the others
    1, for example 0.5."""
    known: str | None = None
    """Parquet file with columns caption and probability: P(memorized) before training, for example
    from a calibrated scan, which lowers the weight of those captions as well."""
    threshold: float | None = None
    """Signal value beyond which a sample is excluded; by default derived from --quantile."""
    clean: str | None = None
    """Parquet file like --data, of pairs known not to be memorized: compute --quantile on them,
    once before training, instead of on recent samples."""
    quantile: float = 0.9
    """Without --threshold, exclude samples whose signal is beyond this quantile of recent samples
    (or of --clean) at a similar noise level."""
    softness: float = 0.0
    """Width of the sigmoid that takes a sample's loss weight from 1 to 0 around the threshold, as a
    fraction of the threshold; 0 is a hard cutoff (weights 0 and 1)."""
    caption_column: str | None = None
    """Column with captions; by default detected by name."""
    image_column: str | None = None
    """Column with images; by default detected by name."""
    key_column: str | None = None
    """Column with keys; by default detected by name."""
    device: str = "auto"
    """Device: cuda or cpu; auto uses cuda if available."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(FinetuneConfig, "finetune", __doc__, _finetune, arguments)


def _finetune(config: FinetuneConfig) -> int:
    guarded = config.guard != "off"
    check_device(config.device, takes_number=True)
    _check_guard(config)
    if config.out.exists() and any(config.out.iterdir()):
        raise UsageError(f"--out {config.out}: is not empty; choose another directory")
    check_files("--data", [config.data])
    check_files("--clean", [config.clean])
    check_model(config.model)
    load_libraries()

    from scanner.mitigation.finetune import finetune
    from scanner.models import find_model, load_model
    from scanner.models.pipeline import pipeline_of

    files = find_model(config.model)
    files.refuse_only_scanned("finetune")
    if files.checkpoint:
        raise UsageError(
            f"--model {config.model}: a single-file checkpoint cannot be fine-tuned; give a "
            "diffusers directory"
        )
    images = _read_images(config, config.data)
    log.info(f"{len(images):,} samples, {len(images.files):,} distinct images")
    model = load_model(files, dtype="float32", device=config.device)
    pipe = pipeline_of(files, model)
    steps = config.training.steps
    with ExitStack() as stack:
        guard = stack.enter_context(_guard(config, model, pipe.vae)) if guarded else None
        weights = guard.loss_weights if guard else None
        finetune(model, pipe.vae, images, config.training, weights, Ticker(steps))
    pipe.save_pretrained(config.out)
    record: dict[str, Any] = {"steps": steps, "samples": len(images)}
    record |= {"skipped": len(images.skipped), "out": str(config.out)}
    if guard:
        excluded = guard.removal_list(config.out / "excluded.parquet")
        record |= {"excluded_share": guard.exclusions.share, "excluded_samples": excluded}
        record |= {"extra_forwards": guard.extra_forwards}
    if config.json:
        skipped = [dataclasses.asdict(sample) for sample in images.skipped]
        print_json({**record, "skipped_samples": skipped})
    else:
        show("\n".join(f"{name:18}{value}" for name, value in record.items()))
    return 0


def _check_guard(config: FinetuneConfig) -> None:
    """Raise UsageError for options of the guard that contradict each other."""
    by_probability = config.weights == "probability"
    if config.guard == "off" and (config.clean or by_probability or config.known):
        raise UsageError("--clean, --weights and --known need a --guard; add one")
    if config.clean and config.threshold is not None:
        raise UsageError("--clean measures a threshold; drop --threshold")
    if by_probability and (config.clean or config.threshold is not None or config.softness):
        raise UsageError(
            "--weights probability needs no --threshold, --clean or --softness; drop them"
        )
    if config.cutoff is not None and not by_probability:
        raise UsageError("--cutoff needs --weights probability")


def _read_images(config: FinetuneConfig, url: str) -> "TrainingImages":
    from scanner.mitigation.training_images import read_training_images

    columns = config.caption_column, config.image_column, config.key_column
    images = read_training_images(url, *columns)
    for sample in images.skipped[:SHOWN]:
        log.warning(
            f"{url}: row {sample.row:,} (key {printable(sample.key)}) skipped: {sample.reason}"
        )
    if len(images.skipped) > SHOWN:
        log.warning(f"{url}: {len(images.skipped):,} rows skipped in total; --json lists them")
    return images


def _guard(config: FinetuneConfig, model: "DiffusionModel", vae: Any) -> "Guard":
    from scanner.mitigation.finetune import make_guard
    from scanner.mitigation.known import read_known
    from scanner.mitigation.moving_null import MovingNull
    from scanner.mitigation.threshold import RunningQuantile, Threshold

    assert config.guard != "off"
    null = MovingNull(cutoff=config.cutoff) if config.weights == "probability" else None
    threshold: Threshold | float | None = config.threshold
    if threshold is None and null is None:
        threshold = RunningQuantile(config.quantile)
    clean = _read_images(config, config.clean) if config.clean else None
    if clean:
        log.info(f"measuring thresholds on {len(clean):,} clean samples")
    return make_guard(
        model,
        vae,
        config.guard,
        config.layers,
        threshold,
        config.training,
        config.softness,
        clean,
        config.direction,
        null,
        read_known(config.known) if config.known else None,
    )


if __name__ == "__main__":
    sys.exit(main())
