"""What an actor of a scan does with a slice: read its captions, score them."""

import os
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from scanner.models import find_model, load_model
from scanner.run import Slice
from scanner.run.schema import REJECTS
from scanner.scoring import Scorer
from scanner.storage import Store


@dataclass(frozen=True)
class ScanWork:
    """How to make the work in an actor; picklable, and loads nothing until it is called."""

    store: Store
    model: str
    revision: str | None
    model_options: dict[str, Any]
    weights: str
    dtype: str
    device: str
    scoring: dict[str, Any]
    threads: int

    def __call__(self) -> "_SliceScorer":
        if self.device == "cpu":
            torch.set_num_threads(self.threads)
        files = find_model(self.model, self.revision, **self.model_options)
        found = files.weights_hash()
        if found != self.weights:
            raise RuntimeError(
                f"{self.model} on {os.uname().nodename} has other weights than the scan began with"
            )
        model = load_model(files, dtype=self.dtype, device=self.device, weights=self.weights)
        return _SliceScorer(self.store, Scorer(model, **self.scoring))


@dataclass(frozen=True)
class _SliceScorer:
    store: Store
    scorer: Scorer

    def __call__(self, item: Slice) -> dict[str, pa.Table]:
        with self.store.open(item.file) as file:
            captions = pq.read_table(
                file,
                columns=["caption_id", "caption"],
                filters=[("caption_id", ">=", item.first), ("caption_id", "<=", item.last)],
            )
        if len(captions) != item.rows:
            raise RuntimeError(
                f"{item.file}: {len(captions)} captions where {item.rows} are planned"
            )
        scores, bad = self.scorer.score_finite(captions["caption"].to_pylist())
        rejects = {
            "source": [None] * len(bad),
            "row": [None] * len(bad),
            "key": [None] * len(bad),
            "caption_id": [captions["caption_id"][row].as_py() for row in bad],
            "stage": ["scan"] * len(bad),
            "reason": list(bad.values()),
        }
        return {"scores": scores, "rejects": pa.table(rejects, schema=REJECTS)}
