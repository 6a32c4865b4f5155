"""Score captions: run the forwards that the signals need, and build the table."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from scanner.errors import UserError
from scanner.memory import is_out_of_memory
from scanner.models import DiffusionModel
from scanner.models.transformer_model import TransformerModel
from scanner.scoring.attention_signals import TOKEN_MASS
from scanner.scoring.batch_queue import BatchQueue, CaptionBatch
from scanner.scoring.batch_size import BatchSize
from scanner.scoring.catalog import VERSION, find_signal
from scanner.scoring.columns import column_of, not_finite
from scanner.scoring.forwards import Forwards
from scanner.scoring.observing import observe
from scanner.scoring.packing import PackedBatch, join, pack
from scanner.scoring.precision import fix_precision
from scanner.scoring.profiles import PROFILES
from scanner.scoring.read_captions import ReadCaptions, tokenize_captions
from scanner.scoring.requirements import check_traits, option_traits
from scanner.scoring.schedule import Needs, Schedule, check_timesteps
from scanner.scoring.spec import ScoringSpec
from scanner.scoring.table_schema import score_schema
from scanner.scoring.text import text_columns
from scanner.scoring.triggers import trigger_column

COMPILE_AFTER = 16
"""Full batches after which compiling, which takes a minute or two, is likely to pay off."""


class ScoreError(Exception):
    """A caption has no finite score."""


class Scorer:
    """Scores captions with one model; the same caption always gets the same score.

    What to compute: see :class:`~scanner.scoring.spec.ScoringSpec`. ``batch_size``: captions per
    forward, tuned by default up to ``largest_batch``, halved when the device runs out of memory; it
    changes speed, never scores (beyond rounding). ``compile``: compile the denoiser, on CUDA as a
    CUDA graph, once the batch size is settled; smaller batches are then padded. By default on CUDA
    after COMPILE_AFTER full batches of texts of one length, since eager kernels leave much of the
    device idle but compiling takes minutes; never on the CPU, where compiling costs more than it
    saves.
    ``encode_ahead``: captions that are encoded at a time, see :class:`BatchQueue`.

    >>> from scanner import Scorer, load_model
    >>> Scorer(load_model("testbed")).score(["a red fox", "an old boat"]).num_rows
    2
    """

    def __init__(
        self,
        model: DiffusionModel,
        profile: str = "standard",
        signals: Sequence[str] | None = None,
        seeds: int | None = None,
        steps: int = ScoringSpec.steps,
        guidance: float = ScoringSpec.guidance,
        height: int | None = None,
        width: int | None = None,
        batch_size: int | None = None,
        compile: bool | None = None,
        largest_batch: int | None = None,
        encode_ahead: int = 0,
    ) -> None:
        if profile not in PROFILES:
            raise UserError(f"profile {profile!r}: one of {', '.join(PROFILES)}")
        self.model = model
        chosen = PROFILES[profile]
        self.seeds, self.steps, self.guidance = seeds or chosen.seeds, steps, guidance
        self.latent_shape = model.latent_shape(height, width, 1 if signals else chosen.side)
        traits = model.traits | option_traits(self.seeds, steps, self.latent_shape)
        names = signals or chosen.signals_of(traits)
        self.signals = list({one.name: one for one in map(find_signal, names)}.values())
        for signal in self.signals:
            check_traits(signal, traits, model.family)
        self._needs = reduce(Needs.__or__, (signal.needs for signal in self.signals))
        check_timesteps(self._needs, model.noise_process.levels)
        self.batch = BatchSize(batch_size, largest_batch)
        self.compile, self.encode_ahead = compile, encode_ahead
        self._full_batches = Counter[tuple[int, int]]()
        fix_precision(model.device)
        self.forwards = Forwards(model, self.latent_shape, steps, guidance)
        self.schedule = self.schedule_of(self.forwards.times)

    @classmethod
    def from_spec(cls, model: DiffusionModel, spec: ScoringSpec, **options: Any) -> Self:
        """Return the scorer that a spec describes. ``options``: of the constructor's."""
        return cls(model, **vars(spec), **options)

    def schedule_of(self, times: Sequence[float]) -> Schedule:
        """Return the schedule of a denoising with these timesteps."""
        early = max(*self.model.early_layers, self.model.entropy_layer) + 1
        return Schedule.of(self._needs, early, times, self.model.noise_process.levels)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All settings that a score depends on."""
        # Before, the anisotropy of such models took the cosine of ε: a run does not mix the two.
        terms = self.forwards.anisotropy_terms
        of_v = terms is not None and terms.of_velocity
        more = {"anisotropy": "v"} if of_v and self._has("anisotropy") else {}
        return {
            **more,
            "weights": self.model.weights,
            "family": self.model.family,
            "signals": [signal.name for signal in self.signals],
            "signals_version": VERSION,
            "seeds": self.seeds,
            "steps": self.steps,
            "guidance": self.guidance,
            "scheduler": self.model.noise_process.fingerprint,
            "latent_shape": list(self.latent_shape),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table, each with its description, unit and source."""
        return score_schema(
            self.signals,
            self.schedule.timesteps,
            has_triggers=self._token_mass is not None,
            embedded_guidance=self.model.embedded_guidance,
        )

    @property
    def can_offload(self) -> bool:
        """Whether the denoiser can be offloaded: a transformer whose forwards are not
        differentiated, since its weights have left the device when a backward needs them."""
        has_derivatives = self.schedule.gradient or bool(self.schedule.derivatives)
        return isinstance(self.model, TransformerModel) and not has_derivatives

    @property
    def batch_size(self) -> int:
        """Captions in the next forward."""
        return self.batch.size

    def _has(self, name: str) -> bool:
        return any(signal.name == name for signal in self.signals)

    @property
    def _token_mass(self) -> str | None:
        """The signal that the trigger words are computed from: the first token_mass at any step."""
        return next((one.name for one in self.signals if one.name.startswith(TOKEN_MASS)), None)

    def score(self, captions: list[str]) -> pa.Table:
        """Return the scores of captions, in order.

        Captions that exceed the model's text length are truncated as the model truncates them
        (column ``truncated``); an empty caption has no words and no triggers. Raises ScoreError if
        a score is not finite, TypeError if a caption is not a str.
        """
        table, bad = self.score_finite(captions)
        if bad:
            number, why = next(iter(bad.items()))
            raise ScoreError(f"captions[{number}] ({captions[number]!r}): {why}")
        return table

    def score_finite(self, captions: list[str]) -> tuple[pa.Table, dict[int, str]]:
        """Return the rows with finite scores, and the reason by number for every other caption."""
        read = self.read(captions)
        return self.table(read, self.compute(read))

    # The three steps of scoring, separate so an actor can overlap them.

    def read(self, captions: list[str], ids: list[str] | None = None) -> ReadCaptions:
        """Tokenize captions, see :func:`tokenize_captions`."""
        return tokenize_captions(self.model, captions, ids)

    def compute(
        self, read: ReadCaptions, report: Callable[[int], None] = lambda computed: None
    ) -> dict[str, Tensor]:
        """Compute the signals on the device; return their values (S, B, …), S seeds, in order.

        ``report`` is called after each batch with the number of captions computed so far.
        """
        if read.tokens is None:
            return {}
        numbers, values = [], []
        computed = 0
        queue = BatchQueue(self.model, self.latent_shape, read.tokens, self.encode_ahead)
        for numbers_B, batch in self._launched(queue):
            numbers.append(numbers_B)
            values.append(batch.wait())
            computed += len(numbers_B)
            report(computed)
        joined = {name: join([one[name] for one in values]) for name in values[0]}
        if not queue.is_by_length:
            return joined
        order_B = torch.cat(numbers).argsort()
        return {name: one[:, order_B] for name, one in joined.items()}

    def _launched(self, queue: BatchQueue) -> Iterator[tuple[Tensor, PackedBatch]]:
        """Yield the numbers of the captions of queued batches, and these, each after queueing the
        next one.

        So the device computes while the host waits for a batch. While the batch size is being
        tuned, batches run one at a time, to time them.
        """
        before = None
        while queue:
            began = time.perf_counter()
            launched = self._launch_if_it_fits(queue)
            if launched is None:
                # After the failed frames are gone: until then, their tensors hold memory.
                self.forwards.release_memory()
                continue
            self.batch.record_batch(len(launched[0]), time.perf_counter() - began)
            if before is not None:
                yield before
            before = launched
        if before is not None:
            yield before

    def _launch_if_it_fits(self, queue: BatchQueue) -> tuple[Tensor, PackedBatch] | None:
        """Queue the next batch on the device; None if memory runs out, after halving the size of
        the next one."""
        try:
            batch = queue.peek(self.batch_size, mixed=not self.batch.is_settled)
            packed = self._launch(batch)
            if not self.batch.is_settled:
                packed.wait()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not (queue.encode_fewer() or self.batch.halve()):
                raise
            return None
        queue.drop(batch)
        return batch.numbers_B, packed

    def table(
        self, read: ReadCaptions, values: dict[str, Tensor]
    ) -> tuple[pa.Table, dict[int, str]]:
        """Return the rows with finite scores, and the reason by number for every other caption."""
        if not values:
            return self.schema.empty_table(), {}
        table, bad = self._table(read, values), {}
        finite = np.ones(len(table), bool)
        for signal in self.signals:
            broken = not_finite(table[signal.name])
            for row in np.flatnonzero(broken & finite):
                bad[int(row)] = f"{signal.name} is not finite"
            finite &= ~broken
        return table.filter(pa.array(finite)).combine_chunks(), bad

    def _compiles(self, length: int) -> bool:
        """Whether the next batch, of texts of so many positions, runs compiled."""
        if self.model.is_offloaded:
            return False
        if self.compile is None:
            count = self._full_batches[self.batch_size, length]
            return self.model.device.type == "cuda" and count >= COMPILE_AFTER
        return self.compile and self.batch.is_settled

    def _launch(self, batch: CaptionBatch) -> PackedBatch:
        """Queue the forwards of a batch and the copy of its signals to the host."""
        rows, length, device = len(batch), batch.tokens.ids_BL.shape[1], self.model.device
        self.forwards.compiles = self._compiles(length)
        if self.forwards.compiles:
            batch = batch.padded(self.batch_size)
        text = batch.text and batch.text.to(device)
        observations = observe(
            self.forwards, self.schedule, batch.tokens.to(device), self.seeds, text
        )
        values = {signal.name: signal.values(observations) for signal in self.signals}
        of_seeds = [{name: one[seed] for name, one in values.items()} for seed in range(self.seeds)]
        self._full_batches[self.batch_size, length] += self.batch.is_settled and (
            rows == self.batch_size
        )
        return pack(of_seeds, rows)

    def _table(self, read: ReadCaptions, values: dict[str, Tensor]) -> pa.Table:
        captions, tokens = read.captions, read.tokens
        assert tokens is not None
        columns = text_columns(captions, tokens)
        columns["caption_id"] = pa.array(read.ids)
        columns["seeds"] = pa.array([self.seeds] * len(captions), pa.int32())
        for signal in self.signals:
            stacked = values[signal.name]
            lengths = tokens.n_B if signal.by_token else None
            columns[signal.name] = column_of(stacked.mean(0), lengths)
            if signal.seeds_column:
                columns[signal.seeds_column] = column_of(stacked.T)
        if self._token_mass:
            length = tokens.ids_BL.shape[1]  # of the tokenizer that gives the words
            mass_BL = values[self._token_mass].mean(0)[:, :length]
            mass_BL = torch.nn.functional.pad(mass_BL, (0, length - mass_BL.shape[1]))
            columns["triggers"] = trigger_column(captions, tokens, mass_BL.numpy())
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)
