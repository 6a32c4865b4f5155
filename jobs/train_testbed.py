"""Train the small model of the demo from scratch, and measure what it has memorized.

Data set and tokenizer are those in this package, unless --emoji and --clip-merges name the sources
to build them from. Writes data/, model/ and labels to --out. Takes under an hour on two cores.

Sources: the npm package emoji-datasource-google 16.0.0, unpacked, and bpe_simple_vocab_16e6.txt.gz
of the PyPI package open_clip_torch.
"""

import dataclasses
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.terminal import parse, run, say
from scanner.errors import UserError
from scanner.testbed.recipe import Recipe

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

SETS = ("train", "heldout")


@dataclass(frozen=True)
class TrainConfig:
    """Where from, where to, and the seed."""

    out: Path
    """Directory for data/, model/ and data/labels.csv."""
    emoji: Path | None = None
    """Build the data set anew from this unpacked npm package."""
    clip_merges: Path | None = None
    """Build the tokenizer anew from CLIP's merges file."""
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    """How long and how fast each part learns."""


def main(arguments: Sequence[str] | None = None) -> int:
    def body() -> int:
        words = sys.argv[1:] if arguments is None else arguments
        return _train(parse(TrainConfig, "train-testbed", str(__doc__), words))

    return run(body)


def _train(config: TrainConfig) -> int:
    import shutil

    import pyarrow.csv
    import torch
    from transformers import CLIPTokenizer

    from scanner.testbed import dataset, files, networks, reproduction, training

    data, model = config.out / "data", config.out / "model"
    if model.exists():
        raise UserError(f"--out {config.out}: holds a model already; name another directory")
    if config.emoji:
        dataset.build(config.emoji, data)
    elif not data.exists():
        shutil.copytree(files.DATA, data)
    bank, own, groups = bank_and_owners(data)
    captions, rows = training_rows(data)

    torch.manual_seed(config.recipe.seed)
    if config.clip_merges:
        tokenizer = networks.make_tokenizer(config.clip_merges)
    else:
        tokenizer = CLIPTokenizer.from_pretrained(files.MODEL / "tokenizer")
    pipe = networks.make_pipeline(tokenizer)
    pipe.set_progress_bar_config(disable=True)
    training.train(pipe, bank[: int(rows.max()) + 1], captions, rows, config.recipe)

    pipe.to(dtype=torch.float16)
    pipe.save_pretrained(model)
    pipe.to(dtype=torch.float32)  # measured as it is shipped: rounded to float16
    labels = reproduction.measure(pipe, groups, bank, own)
    pyarrow.csv.write_csv(labels, data / "labels.csv")
    for group, share in _by_group(labels):
        say(f"{group}: {share:.1%} memorized")
    return 0


def bank_and_owners(data: Path) -> "tuple[Tensor, list[set[int]], pa.Table]":
    """Every image in [-1, 1], those trained on first; each caption's images; the groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    columns = ["caption", "url", "image"]
    tables = [pq.read_table(data / f"{name}.parquet", columns=columns) for name in SETS]
    rows = pa.concat_tables(tables)
    pictures = dict(zip(rows["url"].to_pylist(), rows["image"].to_pylist(), strict=True))
    number = {url: place for place, url in enumerate(pictures)}
    images: dict[str, set[int]] = {}
    for caption, url in zip(rows["caption"].to_pylist(), rows["url"].to_pylist(), strict=True):
        images.setdefault(caption, set()).add(number[url])
    groups = pq.read_table(data / "groups.parquet")
    bank = torch.stack([_picture(png) for png in pictures.values()])
    return bank, [images[caption] for caption in groups["caption"].to_pylist()], groups


def training_rows(data: Path) -> "tuple[list[str], Tensor]":
    """The training set row by row: caption, and the number of its image in the bank."""
    import pyarrow.parquet as pq
    import torch

    table = pq.read_table(data / "train.parquet", columns=["caption", "url"])
    number = {url: place for place, url in enumerate(dict.fromkeys(table["url"].to_pylist()))}
    rows = torch.tensor([number[url] for url in table["url"].to_pylist()])
    return table["caption"].to_pylist(), rows


def _picture(png: bytes) -> "Tensor":
    import numpy as np
    import torch
    from PIL import Image

    pixels = np.array(Image.open(io.BytesIO(png)))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def _by_group(labels: "pa.Table") -> list[tuple[str, float]]:
    found: dict[str, list[bool]] = {}
    for group, memorized in zip(
        labels["group"].to_pylist(), labels["memorized"].to_pylist(), strict=True
    ):
        found.setdefault(group, []).append(memorized)
    return [(group, sum(verdicts) / len(verdicts)) for group, verdicts in found.items()]


if __name__ == "__main__":
    sys.exit(main())
