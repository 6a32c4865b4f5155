"""What an actor of a scan does with a slice: read its captions, score them."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from scanner.cluster import BrokenDevice, Result, report
from scanner.models import DiffusionModel, ModelFiles, find_model, load_model
from scanner.run import Output, Slice
from scanner.run.json_files import BatchSizeRecord
from scanner.run.records import encode, read_json
from scanner.run.schema import rejects_table
from scanner.scoring import Scorer
from scanner.scoring.scorer import ReadCaptions
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

    def __call__(self) -> "SliceScorer":
        files = find_same_model(self.model, self.revision, self.model_options, self.weights)
        model = load_model(files, dtype=self.dtype, device=self.device, weights=self.weights)
        return self.with_model(model)

    def with_model(self, model: DiffusionModel) -> "SliceScorer":
        """Return the work with a model that is loaded already, moved to the device."""
        model.to(self.device)
        if self.device == "cpu":
            torch.set_num_threads(self.threads)
        remembered = f"batch_sizes/{_device_name(self.device, self.threads)}.json"
        scoring = self.scoring
        if scoring["batch_size"] is None and self.store.exists(remembered):
            scoring = scoring | read_json(self.store, remembered, BatchSizeRecord)
        return SliceScorer(self.store, Scorer(model, **scoring), remembered)


@dataclass
class SliceScorer:
    """The work of a scan (scanner.cluster.Work)."""

    store: Store
    scorer: Scorer
    remembered: str

    def __post_init__(self) -> None:
        self._told = self.scorer.batch.found

    def read(self, item: Slice) -> pa.Table:
        """The slice's captions, with their ids."""
        with self.store.open(item.file, cache_type="none") as file:
            captions = pq.read_table(
                file,
                columns=["caption_id", "caption"],
                filters=[("caption_id", ">=", item.first), ("caption_id", "<=", item.last)],
            )
        if len(captions) != item.rows:
            raise RuntimeError(
                f"{item.file}: {len(captions)} captions where {item.rows} are planned"
            )
        return captions

    def prepare(self, item: Slice) -> ReadCaptions:
        captions = self.read(item)
        return self.scorer.read(captions["caption"].to_pylist(), captions["caption_id"].to_pylist())

    def compute(self, prepared: ReadCaptions) -> tuple[ReadCaptions, list[dict[str, Tensor]]]:
        with telling_broken_devices():
            return prepared, self.scorer.compute(prepared, report)

    def finish(self, computed: tuple[ReadCaptions, list[dict[str, Tensor]]]) -> Result:
        read, batches = computed
        scores, bad = self.scorer.table(read, batches)
        if self.scorer.batch.found and not self._told:
            # Whoever is first: actors on the same kind of device start with this size.
            self._told = True
            self.store.create(self.remembered, encode({"batch_size": self.scorer.batch_size}))
        ids = [read.ids[row] for row in bad]
        rejects = rejects_table("scan", list(bad.values()), caption_id=ids)
        return Result([Output("scores", scores), Output("rejects", rejects)])


def find_same_model(
    name: str, revision: str | None, options: dict[str, Any], weights: str
) -> ModelFiles:
    """The model's files on this node. Raises RuntimeError where they have other weights."""
    files = find_model(name, revision, **options)
    if files.weights_hash() != weights:
        raise RuntimeError(
            f"{name} on {os.uname().nodename} has other weights than the command began with"
        )
    return files


@contextmanager
def telling_broken_devices() -> Iterator[None]:
    """Raises BrokenDevice for an error after which this process cannot use its device."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
            raise BrokenDevice(str(error)) from error
        raise


def _device_name(device: str, threads: int) -> str:
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu-{threads}-threads"
    return re.sub(r"[^A-Za-z0-9]+", "-", name)
