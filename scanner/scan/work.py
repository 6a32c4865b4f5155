"""The work of a scan's actor: read the captions of a slice, score them."""

import re
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from scanner.cluster import Result, report
from scanner.cluster.broken_devices import raise_broken_devices
from scanner.cluster.connection.environment import environment
from scanner.cluster.failures import OUT_OF_MEMORY
from scanner.cluster.metrics import RETRIES, Metrics
from scanner.cores import usable_cores
from scanner.errors import UserError
from scanner.models import DiffusionModel, ModelFiles, ModelSpec, load_model
from scanner.models.device.device_memory import device_memory, peak_memory, weight_bytes
from scanner.models.device.gpu_share import keep_to_share
from scanner.models.device.offloading import place
from scanner.models.files.finding import find_same_model
from scanner.run import Commit, Output, Slice
from scanner.run.json_files import BatchSizeRecord
from scanner.run.records import encode, read_json
from scanner.run.rejects import reasons_in
from scanner.run.schema import rejects_table
from scanner.scan.metrics import BATCH_SIZE, CAPTIONS, PEAK_MEMORY
from scanner.scan.slice_captions import SliceReader
from scanner.scoring import Scorer, ScoringSpec
from scanner.scoring.fit import Fit, fit
from scanner.scoring.memory import estimate_memory
from scanner.scoring.read_captions import ReadCaptions
from scanner.scoring.scorer import ScoreError
from scanner.scoring.spec import Placement
from scanner.storage import Store

SMALL = 0.02
"""Share of a device's free memory below which a model's memory is not counted, which takes
seconds."""
CANARY = "a photo of a cat on a sofa"


@dataclass(frozen=True)
class ScanWork:
    """Makes the work in an actor; picklable, and loads the model when called.

    ``gpu_share``: of one GPU's memory, for each actor. ``text_encoders``, ``denoiser``: where they
    are kept.
    """

    store: Store
    model: ModelSpec
    weights: str
    device: str
    threads: int
    scoring: ScoringSpec
    batch_size: int | None
    gpu_share: float = 1.0
    text_encoders: Placement = "auto"
    denoiser: Placement = "auto"

    def __call__(self) -> "SliceScorer":
        """Load the model and return the work. Raises UserError if it does not fit the device."""
        return self.of_files(find_same_model(self.model, self.weights))

    def of_files(self, files: ModelFiles) -> "SliceScorer":
        """As calling it, with the files of the model at hand."""
        keep_to_share(self.device, self.gpu_share)
        fitted = self._fit(load_model(files, device="meta"))
        stays = fitted and (fitted.offloads or fitted.offloads_denoiser)
        to = "cpu" if stays else self.device
        return self._placed(load_model(files, device=to, weights=self.weights), fitted)

    def _fit(self, model: DiffusionModel) -> Fit | None:
        """Return how scoring fits the device; None for models so small that this does not matter.

        Raises UserError if not even one caption fits.
        """
        share = self.threads / usable_cores() if self.device == "cpu" else self.gpu_share
        with raise_broken_devices():
            memory = device_memory(self.device, share)
        weights = sum(weight_bytes(model).values())
        is_placed = "offload" in (self.text_encoders, self.denoiser)
        if not is_placed and weights < SMALL * memory.free:
            return None
        estimate = estimate_memory(Scorer.from_spec(model, self.scoring), self.device)
        fitted = fit(estimate, memory, self.text_encoders, self.denoiser)
        if fitted.refusal:
            raise UserError(f"{self.model.name}: {fitted.refusal}")
        return fitted

    def _placed(self, model: DiffusionModel, fitted: Fit | None) -> "SliceScorer":
        with raise_broken_devices():
            if fitted:
                place(model, self.device, fitted.offloads, fitted.offloads_denoiser)
        if self.device == "cpu":
            torch.set_num_threads(self.threads)
        size_file = f"batch_sizes/{_device_name(self.device, self.threads)}.json"
        batch_size, largest = self.batch_size, max(1, fitted.largest_batch) if fitted else None
        if batch_size is None and self.store.exists(size_file):
            saved = read_json(self.store, size_file, BatchSizeRecord)["batch_size"]
            batch_size = min(saved, largest or saved)
        scorer = Scorer.from_spec(
            model,
            self.scoring,
            batch_size=batch_size,
            largest_batch=largest,
            encode_ahead=fitted.encode_ahead if fitted else 0,
        )
        notice = f"memory: {'; '.join(fitted.lines(scorer.batch_size))}" if fitted else ""
        return SliceScorer(self.store, scorer, size_file, environment(self.device), notice)


@dataclass
class SliceScorer:
    """The work of a scan (scanner.cluster.Work)."""

    store: Store
    scorer: Scorer
    size_file: str
    environment: dict[str, str]
    notice: str = ""

    def __post_init__(self) -> None:
        self._is_size_saved = self.scorer.batch.is_final
        self._halvings = 0
        self._reader = SliceReader(self.store)

    @torch.inference_mode()
    def prove(self) -> None:
        """Run the first forward of the profile for one caption.

        The first slice uses its kernels and its shared prefix again. Raises BrokenDevice or
        ScoreError for a device or model that cannot compute it.
        """
        scorer = self.scorer
        tokens = scorer.model.tokenize([CANARY])
        with raise_broken_devices():
            text = scorer.model.encode(tokens.to(scorer.model.device), scorer.latent_shape)
            whole = (scorer.forwards.first_time, None)  # a profile of gradients alone has no other
            time, depth = next(iter(scorer.schedule.on_noise.items()), whole)
            outputs = scorer.forwards.on_noise(text, 0, time, depth)
            # Waits for the device, which reports its errors late.
            is_finite = all(bool(out.isfinite().all()) for out in outputs if out is not None)
        if not is_finite:
            raise ScoreError(f"{CANARY!r}: attention or predicted noise is not finite")

    def read(self, item: Slice) -> pa.Table:
        """Read the captions of a slice, with their ids."""
        return self._reader.read(item)

    def prepare(self, item: Slice) -> ReadCaptions:
        captions = self.read(item)
        return self.scorer.read(captions["caption"].to_pylist(), captions["caption_id"].to_pylist())

    def compute(self, prepared: ReadCaptions) -> tuple[ReadCaptions, dict[str, Tensor]]:
        with raise_broken_devices():
            return prepared, self.scorer.compute(prepared, report)

    def finish(self, computed: tuple[ReadCaptions, dict[str, Tensor]]) -> Result:
        read, values = computed
        scores, bad = self.scorer.table(read, values)
        if self.scorer.batch.is_final and not self._is_size_saved:
            # Other actors on the same kind of device start with this size.
            self._is_size_saved = True
            self.store.create(self.size_file, encode({"batch_size": self.scorer.batch_size}))
        ids = [read.ids[row] for row in bad]
        rejects = rejects_table("scan", list(bad.values()), caption_id=ids)
        outputs = [Output("scores", scores), Output("rejects", rejects)]
        notes = {
            **self.environment,
            "batch_size": self.scorer.batch_size,
            "reasons": reasons_in(rejects["reason"]),
        }
        return Result(outputs, notes)

    def measure(self, metrics: Metrics, commit: Commit) -> None:
        """Record the captions of a slice, the batch size, its halvings, and memory (see
        scanner.cluster.work.Measured)."""
        halvings = self.scorer.batch.halvings
        metrics.record(CAPTIONS, sum(part.rows for part in commit.parts))
        metrics.record(BATCH_SIZE, self.scorer.batch_size)
        metrics.record(PEAK_MEMORY, peak_memory(self.scorer.model.device.type))
        metrics.record(RETRIES, halvings - self._halvings, {"cause": OUT_OF_MEMORY})
        self._halvings = halvings


def _device_name(device: str, threads: int) -> str:
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu-{threads}-threads"
    return re.sub(r"[^A-Za-z0-9]+", "-", name)
