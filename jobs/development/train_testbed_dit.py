"""Train the small diffusion transformer of the demo and measure what it has memorized.

It is a Stable Diffusion 3 pipeline trained on the testbed's data set, with the testbed's VAE and
tokenizer. Writes model/ and labels.csv to --out. Takes about an hour on one core. If it is killed,
rerun the same command to resume from the checkpoints in --out.
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.console.terminal import command
from jobs.development.train_testbed import by_group
from scanner.errors import UserError
from scanner.testbed.recipe import TransformerRecipe

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class TrainDitConfig:
    """Output directory and training recipe."""

    out: Path
    """Output directory for model/ and labels.csv."""
    recipe: TransformerRecipe = dataclasses.field(default_factory=TransformerRecipe)
    """Training length and learning rate."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(TrainDitConfig, "jobs.development.train_testbed_dit", __doc__, _main, arguments)


def _main(config: TrainDitConfig) -> int:
    if (config.out / "labels.csv").exists():
        raise UserError(f"--out {config.out}: already holds labels; give another directory")
    labels = train_testbed_dit(config)
    for group, share in by_group(labels):
        log.info(f"{group}: {share:.1%} memorized")
    return 0


def train_testbed_dit(config: TrainDitConfig) -> "pa.Table":
    """Train a model, save it, and return its labels."""
    import pyarrow.csv
    import torch
    from transformers import CLIPTokenizer

    from scanner.models import find_model
    from scanner.models.decoding import load_vae
    from scanner.testbed import bank, files, reproduction
    from scanner.testbed.transformer_networks import make_transformer_pipeline
    from scanner.testbed.transformer_training import generate_folded, train_transformer

    images, own, groups = bank.bank_and_owners(files.DATA)
    captions, rows = bank.training_rows(files.DATA)
    tokenizer = CLIPTokenizer.from_pretrained(
        files.MODEL / "tokenizer", local_files_only=True, trust_remote_code=False
    )
    torch.manual_seed(config.recipe.seed)
    pipe = make_transformer_pipeline(tokenizer, load_vae(find_model("testbed")))
    pipe.set_progress_bar_config(disable=True)
    train_transformer(
        pipe,
        images[: int(rows.max()) + 1],
        captions,
        rows,
        config.recipe,
        config.out / "checkpoints",
    )
    pipe.to(dtype=torch.float16)
    pipe.save_pretrained(config.out / "model")
    pipe.to(dtype=torch.float32)  # measured with the saved weights, rounded to float16
    labels = reproduction.measure(pipe, groups, images, own, generate_folded)
    pyarrow.csv.write_csv(labels, config.out / "labels.csv")
    return labels


if __name__ == "__main__":
    sys.exit(main())
