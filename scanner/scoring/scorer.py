"""Score captions: run the forwards that the signals need, and build the table."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from scanner.captions.identity import caption_id
from scanner.captions.limits import OVER, is_over
from scanner.errors import UserError
from scanner.memory import is_out_of_memory
from scanner.models import DiffusionModel, Tokens, canonical
from scanner.scoring.attention_signals import TOKEN_MASS
from scanner.scoring.batch_size import BatchSize
from scanner.scoring.catalog import VERSION, find_signal
from scanner.scoring.columns import column_of, not_finite
from scanner.scoring.forwards import Forwards
from scanner.scoring.observing import observe
from scanner.scoring.packing import PackedBatch, join, pack
from scanner.scoring.precision import fix_precision
from scanner.scoring.profiles import PROFILES
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


@dataclass(frozen=True)
class ReadCaptions:
    """Captions and their tokens (None if there are no captions)."""

    captions: list[str]
    ids: list[str]
    tokens: Tokens | None


class Scorer:
    """Scores captions with one model; the same caption always gets the same score.

    What to compute: see :class:`~scanner.scoring.spec.ScoringSpec`. ``batch_size``: captions per
    forward, tuned by default up to ``largest_batch``, halved when the device runs out of memory; it
    changes speed, never scores (beyond rounding). ``compile``: compile the denoiser, on CUDA as a
    CUDA graph, once the batch size is settled; smaller batches are then padded. By default on CUDA
    after COMPILE_AFTER full batches, since eager kernels leave much of the device idle but
    compiling takes minutes; never on the CPU, where compiling costs more than it saves.

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
        needs = reduce(Needs.__or__, (signal.needs for signal in self.signals))
        check_timesteps(needs, model.noise_process.levels)
        self.batch = BatchSize(batch_size, largest_batch)
        self.compile = compile
        fix_precision(model.device)
        self.forwards = Forwards(model, self.latent_shape, steps, guidance)
        early = max(*model.early_layers, model.entropy_layer) + 1
        levels = model.noise_process.levels
        self.schedule = Schedule.of(needs, early, self.forwards.times, levels)

    @classmethod
    def from_spec(cls, model: DiffusionModel, spec: ScoringSpec, **options: Any) -> Self:
        """Return the scorer that a spec describes. ``options``: batch_size, largest_batch."""
        return cls(model, **vars(spec), **options)

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

    def read(self, captions: list[str], ids: list[str] | None = None) -> "ReadCaptions":
        """Tokenize captions. ``ids``: their caption ids, computed if None.

        Raises TypeError if a caption is not a str, ValueError if it exceeds the size limit.
        """
        if isinstance(captions, str):
            raise TypeError(f"captions must be a list of str, got str {captions!r}: pass [caption]")
        for number, caption in enumerate(captions):
            if not isinstance(caption, str):
                raise TypeError(
                    f"captions[{number}] must be str, got {type(caption).__name__}: remove it"
                )
            if is_over(caption):
                raise ValueError(f"captions[{number}] is {OVER}: remove or shorten it")
        if ids is None:
            ids = [
                caption_id(canonical(self.model.canonical_tokenizer, caption))
                for caption in captions
            ]
        return ReadCaptions(captions, ids, self.model.tokenize(captions) if captions else None)

    def compute(
        self, read: "ReadCaptions", report: Callable[[int], None] = lambda computed: None
    ) -> list[dict[str, Tensor]]:
        """Compute the signals on the device; return their values (S, B, …) per batch, S seeds.

        ``report`` is called after each batch with the number of captions computed so far.
        """
        batches: list[dict[str, Tensor]] = []
        computed = 0
        for rows, batch in self._launched(read):
            batches.append(batch.wait())
            computed += rows
            report(computed)
        return batches

    def _launched(self, read: "ReadCaptions") -> Iterator[tuple[int, PackedBatch]]:
        """Yield queued batches and their numbers of rows, each after queueing the next one.

        So the device computes while the host waits for a batch. While the batch size is being
        tuned, batches run one at a time, to time them.
        """
        start, before = 0, None
        while start < len(read.captions):
            assert read.tokens is not None
            tokens = read.tokens[start : start + self.batch_size]
            rows, began = len(tokens.n_B), time.perf_counter()
            batch = self._launch_if_it_fits(tokens)
            if batch is None:
                # After the failed frames are gone: until then, their tensors hold memory.
                self.forwards.release_memory()
                continue
            self.batch.record_batch(rows, time.perf_counter() - began)
            start += rows
            if before is not None:
                yield before
            before = rows, batch
        if before is not None:
            yield before

    def _launch_if_it_fits(self, tokens: Tokens) -> PackedBatch | None:
        """Queue a batch; None if memory runs out, after halving the size of the next one."""
        try:
            batch = self._launch(tokens)
            if not self.batch.is_settled:
                batch.wait()
            return batch
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not self.batch.halve():
                raise
            return None

    def table(
        self, read: "ReadCaptions", batches: list[dict[str, Tensor]]
    ) -> tuple[pa.Table, dict[int, str]]:
        """Return the rows with finite scores, and the reason by number for every other caption."""
        if not batches:
            return self.schema.empty_table(), {}
        values = {name: join([b[name] for b in batches]) for name in batches[0]}
        table, bad = self._table(read, values), {}
        finite = np.ones(len(table), bool)
        for signal in self.signals:
            broken = not_finite(table[signal.name])
            for row in np.flatnonzero(broken & finite):
                bad[int(row)] = f"{signal.name} is not finite"
            finite &= ~broken
        return table.filter(pa.array(finite)).combine_chunks(), bad

    @property
    def _compiles(self) -> bool:
        """Whether the next batch runs compiled."""
        if self.compile is None:
            on_cuda = self.model.device.type == "cuda"
            return on_cuda and self.batch.is_settled and self.batch.batches_at_size >= COMPILE_AFTER
        return self.compile and self.batch.is_settled

    def _launch(self, tokens: Tokens) -> PackedBatch:
        """Queue the forwards of a batch and the copy of its signals to the host."""
        rows, tokens = len(tokens.n_B), self.model.trim(tokens)
        self.forwards.compiles = self._compiles
        if self.forwards.compiles:
            tokens = tokens.padded(self.batch_size)
        observations = observe(
            self.forwards, self.schedule, tokens.to(self.model.device), self.seeds
        )
        values = {signal.name: signal.values(observations) for signal in self.signals}
        of_seeds = [{name: one[seed] for name, one in values.items()} for seed in range(self.seeds)]
        return pack(of_seeds, rows)

    def _table(self, read: "ReadCaptions", values: dict[str, Tensor]) -> pa.Table:
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
