"""Fine-tune a model on captioned pictures, with or without a guard against memorization.

The U-Net learns, in float32; text encoder and VAE stay as they are. With --guard, samples that look
memorized (by their attention, or by the noise norm) weigh nothing in a step's loss, and are listed
in OUT/left-out.parquet with how often that was so. Samples without a caption or a readable picture
are skipped and counted; --json lists them. Not resumable: what is killed starts anew.

Example: memscan finetune --model testbed --data pictures.parquet --out tuned --guard bos_mass
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.escaping import printable
from jobs.logs import LogOptions
from jobs.progress import Ticker
from jobs.terminal import command, print_json, quiet_libraries, show
from scanner.errors import UsageError
from scanner.mitigation.tuning import Tuning

if TYPE_CHECKING:
    from scanner.mitigation.guard import Guard
    from scanner.mitigation.pictures import Pictures
    from scanner.models import DiffusionModel

log = logging.getLogger("memscan")

SHOWN = 5


@dataclass(frozen=True)
class FinetuneConfig(LogOptions):
    """What is trained on what."""

    data: str
    """A parquet file with captions and the bytes of their pictures; a path or URL."""
    out: Path
    """Directory for the fine-tuned pipeline; must be new."""
    model: str = "testbed"
    """A hub id, directory or URL in the diffusers layout, or testbed."""
    tuning: Tuning = dataclasses.field(default_factory=Tuning)
    """How long and how fast."""
    guard: Literal["off", "entropy", "bos_mass", "noise_norm"] = "off"
    """Leave out of the loss what looks memorized by this signal of the training forward itself;
    noise_norm takes one more forward a step."""
    layers: tuple[int, ...] = (3,)
    """Cross-attention layers that the guard reads, in the order in which they run."""
    threshold: float | None = None
    """The signal's value from which a sample is left out; without it, --quantile."""
    clean: str | None = None
    """A parquet file like --data, of pairs that are not memorized: --quantile is then of these,
    measured once on the model as it is before it learns."""
    quantile: float = 0.9
    """Leave out what is above this quantile, at a like noise level, of the last samples, or of
    --clean."""
    softness: float = 0.0
    """0: left out or not; else the weight falls smoothly within this share of the threshold."""
    caption_column: str | None = None
    """The column of captions, if not found by name."""
    image_column: str | None = None
    """The column of pictures, if not found by name."""
    key_column: str | None = None
    """The column of keys, if not found by name."""
    device: str = "auto"
    """cuda or cpu; cuda where there is one."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(FinetuneConfig, "finetune", __doc__, _finetune, arguments)


def _finetune(config: FinetuneConfig) -> int:
    from scanner.mitigation.finetune import finetune
    from scanner.models import find_model, load_model
    from scanner.models.pipeline import pipeline_of

    guarded = config.guard != "off"
    if config.clean and (config.threshold is not None or not guarded):
        raise UsageError("--clean is for a --guard without --threshold; leave one out")
    if config.out.exists() and any(config.out.iterdir()):
        raise UsageError(f"--out {config.out}: is not empty; name another directory")
    quiet_libraries()
    files = find_model(config.model)
    if files.checkpoint:
        raise UsageError(f"--model {config.model}: fine-tuning takes a diffusers directory only")
    pictures = _pictures(config, config.data)
    log.info(f"{len(pictures):,} samples, {len(pictures.png):,} distinct pictures")
    model = load_model(files, dtype="float32", device=config.device)
    pipe = pipeline_of(files, model)
    with ExitStack() as stack:
        guard = stack.enter_context(_guard(config, model, pipe.vae)) if guarded else None
        finetune(model, pipe.vae, pictures, config.tuning, guard, Ticker(config.tuning.steps))
    pipe.save_pretrained(config.out)
    found: dict[str, Any] = {"steps": config.tuning.steps, "samples": len(pictures)}
    found |= {"skipped": len(pictures.skipped), "out": str(config.out)}
    if guard:
        listed = guard.removal_list(config.out / "left-out.parquet")
        found |= {"left_out_share": guard.left_out.share, "left_out_samples": listed}
        found |= {"extra_forwards": guard.extra_forwards}
    if config.json:
        skipped = [dataclasses.asdict(one) for one in pictures.skipped]
        print_json({**found, "skipped_samples": skipped})
    else:
        show("\n".join(f"{name:18}{value}" for name, value in found.items()))
    return 0


def _pictures(config: FinetuneConfig, url: str) -> "Pictures":
    from scanner.mitigation.pictures import read_pictures

    found = read_pictures(url, config.caption_column, config.image_column, config.key_column)
    for one in found.skipped[:SHOWN]:
        log.warning(f"{url}: row {one.row:,} (key {printable(one.key)}) is skipped: {one.reason}")
    if len(found.skipped) > SHOWN:
        log.warning(f"{url}: {len(found.skipped):,} rows are skipped in all; --json lists them")
    return found


def _guard(config: FinetuneConfig, model: "DiffusionModel", vae: Any) -> "Guard":
    from scanner.mitigation.finetune import make_guard
    from scanner.mitigation.threshold import RunningQuantile

    assert config.guard != "off"
    threshold = RunningQuantile(config.quantile) if config.threshold is None else config.threshold
    clean = _pictures(config, config.clean) if config.clean else None
    if clean:
        log.info(f"{len(clean):,} clean samples tell what is usual")
    how, softness = config.tuning, config.softness
    return make_guard(model, vae, config.guard, config.layers, threshold, how, softness, clean)


if __name__ == "__main__":
    sys.exit(main())
