"""Train the small model of the demo from scratch and measure what it has memorized.

Uses the data set and tokenizer of this package unless --emoji and --clip-merges name sources to
rebuild them from. Writes data/, model/ and labels to --out. Takes under an hour on two cores. If it
is killed, the same command goes on from the checkpoints in --out.

Sources: the npm package emoji-datasource-google 16.0.0, unpacked, and bpe_simple_vocab_16e6.txt.gz
of the PyPI package open_clip_torch.
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.console.terminal import command
from scanner.errors import UserError
from scanner.testbed.recipe import TestbedRecipe

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class TrainConfig:
    """Sources, output directory and training recipe."""

    out: Path
    """Output directory for data/, model/ and data/labels.csv."""
    emoji: Path | None = None
    """Rebuild the data set from this unpacked npm package."""
    clip_merges: Path | None = None
    """Rebuild the tokenizer from this CLIP merges file."""
    vae: Path | None = None
    """Use the VAE of this pipeline, a directory, instead of training one."""
    recipe: TestbedRecipe = dataclasses.field(default_factory=TestbedRecipe)
    """Training length and learning rate of each part."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(TrainConfig, "jobs.development.train_testbed", __doc__, _main, arguments)


def _main(config: TrainConfig) -> int:
    if (config.out / "model").exists():
        raise UserError(f"--out {config.out}: already holds a model; give another directory")
    labels = train_testbed(config)
    for group, share in by_group(labels):
        log.info(f"{group}: {share:.1%} memorized")
    return 0


def train_testbed(config: TrainConfig) -> "pa.Table":
    """Train a model, save it, and return its labels."""
    import shutil

    import pyarrow.csv
    import torch
    from transformers import CLIPTokenizer

    from scanner.models import find_model
    from scanner.models.decoding import load_vae
    from scanner.testbed import bank, dataset, files, networks, reproduction, training

    data, model = config.out / "data", config.out / "model"
    if config.emoji:
        dataset.build(config.emoji, data)
    elif not data.exists():
        shutil.copytree(files.DATA, data, ignore=shutil.ignore_patterns(files.LABELS.name))
    images, own, groups = bank.bank_and_owners(data)
    captions, rows = bank.training_rows(data)

    torch.manual_seed(config.recipe.seed)
    if config.clip_merges:
        tokenizer = networks.make_tokenizer(config.clip_merges)
    else:
        tokenizer = CLIPTokenizer.from_pretrained(
            files.MODEL / "tokenizer", local_files_only=True, trust_remote_code=False
        )
    pipe = networks.make_pipeline(tokenizer, config.recipe)
    pipe.set_progress_bar_config(disable=True)
    if config.vae:
        pipe.vae = load_vae(find_model(str(config.vae)))
    checkpoints = config.out / "checkpoints"
    training.train(
        pipe,
        images[: int(rows.max()) + 1],
        captions,
        rows,
        config.recipe,
        checkpoints,
        new_vae=not config.vae,
    )

    pipe.to(dtype=torch.float16)
    pipe.save_pretrained(model)
    pipe.to(dtype=torch.float32)  # measured with the shipped weights, rounded to float16
    labels = reproduction.measure(pipe, groups, images, own)
    pyarrow.csv.write_csv(labels, data / "labels.csv")
    return labels


def by_group(labels: "pa.Table") -> list[tuple[str, float]]:
    verdicts: dict[str, list[bool]] = {}
    for group, memorized in zip(
        labels["group"].to_pylist(), labels["memorized"].to_pylist(), strict=True
    ):
        verdicts.setdefault(group, []).append(memorized)
    return [(group, sum(values) / len(values)) for group, values in verdicts.items()]


if __name__ == "__main__":
    sys.exit(main())
