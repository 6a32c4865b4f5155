"""Score captions: run the forwards that the asked signals need, and make the table."""

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from scanner.captions.identity import caption_id
from scanner.errors import UserError
from scanner.models import StableDiffusion, Tokens, canonical
from scanner.probe import watch_attention
from scanner.run.schema import CAPTION_ID, column
from scanner.scoring.catalog import PROFILES, SIGNALS, VERSION, Needs, Observation, Signal
from scanner.scoring.text import CONTROL_FIELDS, TRIGGER_FIELD, text_columns, triggers

STEPS = 50
BATCH = 32


class ScoreError(Exception):
    """A caption has no finite score."""


class Scorer:
    """Scores captions with one model; the same caption always gets the same score.

    ``profile``: a key of PROFILES. ``seeds``: how many initial noises, the profile's by default.
    ``steps``: of the DDIM schedule, whose first step the signals look at. ``height``, ``width``:
    in pixels, the model's own by default. ``batch_size`` is halved for good when the device runs
    out of memory; it changes speed, never scores (beyond rounding).
    """

    def __init__(
        self,
        model: StableDiffusion,
        profile: str = "standard",
        seeds: int | None = None,
        steps: int = STEPS,
        height: int | None = None,
        width: int | None = None,
        batch_size: int = BATCH,
    ) -> None:
        if profile not in PROFILES:
            raise UserError(f"profile {profile!r}: one of {', '.join(PROFILES)}")
        self.model = model
        self.signals = [SIGNALS[name] for name in PROFILES[profile].signals]
        self.needs = reduce(Needs.__or__, (signal.needs for signal in self.signals))
        self.seeds = seeds or PROFILES[profile].seeds
        self.steps = steps
        self.batch_size = batch_size
        self.latent_shape = model.latent_shape(height, width)
        self._first = int(model.timesteps(steps)[0])
        self._noise = [self._initial_noise(seed) for seed in range(self.seeds)]
        self._unconditional: dict[int, Tensor] = {}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that a score depends on."""
        kept = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
        config = self.model.scheduler.config
        return {
            "weights": self.model.weights,
            "family": self.model.family,
            "signals": [signal.name for signal in self.signals],
            "signals_version": VERSION,
            "seeds": self.seeds,
            "steps": self.steps,
            "scheduler": {
                **{name: config[name] for name in kept},
                "prediction_type": config.prediction_type,
            },
            "latent_shape": list(self.latent_shape),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table, each with its description, unit and source."""
        fields = [CAPTION_ID]
        for signal in self.signals:
            fields.append(signal.documented_field)
            if signal.seeds_column:
                fields.append(_seeds_field(signal))
        if "token_mass" in self._names:
            fields.append(TRIGGER_FIELD)
        fields += CONTROL_FIELDS
        fields.append(column("seeds", pa.int32(), "how many initial noises were averaged"))
        fields.append(column("truncated", pa.bool_(), "the caption is longer than the model reads"))
        return pa.schema(fields)

    @property
    def _names(self) -> set[str]:
        return {signal.name for signal in self.signals}

    def score(self, captions: list[str]) -> pa.Table:
        """The scores of captions, in their order.

        Captions longer than the model reads are cut as the model cuts them (``truncated``); an
        empty caption has no words and no triggers. Raises ScoreError where a score is not finite.
        """
        table, bad = self.score_finite(captions)
        if bad:
            number, why = next(iter(bad.items()))
            raise ScoreError(f"caption {number} ({captions[number]!r}): {why}")
        return table

    def score_finite(self, captions: list[str]) -> tuple[pa.Table, dict[int, str]]:
        """The rows with finite scores, and why each other caption (by its number) has none."""
        tables, bad = [self.schema.empty_table()], {}
        for start, table in self._batches(captions):
            finite = np.ones(len(table), bool)
            for signal in self.signals:
                broken = _not_finite(table[signal.name])
                for row in np.flatnonzero(broken & finite):
                    bad[start + int(row)] = f"{signal.name} is not finite"
                finite &= ~broken
            tables.append(table.filter(pa.array(finite)))
        return pa.concat_tables(tables).combine_chunks(), bad

    def _batches(self, captions: list[str]) -> Iterator[tuple[int, pa.Table]]:
        start = 0
        while start < len(captions):
            part = captions[start : start + self.batch_size]
            try:
                table = self._score_batch(part)
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
                torch.cuda.empty_cache()
                continue
            yield start, table
            start += len(part)

    def _score_batch(self, captions: list[str]) -> pa.Table:
        tokens = self.model.tokenize(captions)
        values: dict[str, list[Tensor]] = {signal.name: [] for signal in self.signals}
        for seen in self._observe(tokens):
            for signal in self.signals:
                values[signal.name].append(signal.compute(seen).float().cpu())
        columns = text_columns(captions, tokens)
        columns["caption_id"] = pa.array(
            [caption_id(canonical(self.model.tokenizer, caption)) for caption in captions]
        )
        columns["seeds"] = pa.array([self.seeds] * len(captions), pa.int32())
        for signal in self.signals:
            stacked = torch.stack(values[signal.name])
            lengths = tokens.n_B if signal.by_token else None
            columns[signal.name] = _array(stacked.mean(0), lengths)
            if signal.seeds_column:
                columns[signal.seeds_column] = _array(stacked.T)
        if "token_mass" in self._names:
            mass_BL = torch.stack(values["token_mass"]).mean(0).numpy()
            columns["triggers"] = pa.array(
                [
                    triggers(caption, tokens.spans[row], tokens.words[row], mass_BL[row, :n])
                    for row, (caption, n) in enumerate(zip(captions, tokens.n_B, strict=True))
                ],
                TRIGGER_FIELD.type,
            )
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)

    def _observe(self, tokens: Tokens) -> Iterator[Observation]:
        """One observation a seed: one conditional forward at step 0."""
        text_BLC = self.model.encode(tokens)
        with watch_attention(self.model.unet, self.model.layers) as record:
            for seed, noise in enumerate(self._noise):
                record.clear()
                x_BCHW = noise.expand(len(text_BLC), -1, -1, -1)
                conditional = self.model.predict_noise(x_BCHW, self._first, text_BLC)
                yield Observation(
                    n_B=tokens.n_B,
                    early_layers=self.model.early_layers,
                    entropy_layer=self.model.entropy_layer,
                    attention=list(record),
                    conditional=conditional,
                    unconditional=self._empty_noise(seed) if self.needs.noise else None,
                )

    def _empty_noise(self, seed: int) -> Tensor:
        """ε_∅ at step 0, which no caption changes: computed once a seed."""
        if seed not in self._unconditional:
            text = self.model.encode(self.model.tokenize([""]))
            with torch.inference_mode():
                self._unconditional[seed] = self.model.predict_noise(
                    self._noise[seed], self._first, text
                )
        return self._unconditional[seed]

    def _initial_noise(self, seed: int) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(seed)
        noise = torch.randn((1, *self.latent_shape), generator=generator, dtype=torch.float32)
        return (noise * self.model.scheduler.init_noise_sigma).to(self.model.device)


def _seeds_field(signal: Signal) -> pa.Field:
    return column(str(signal.seeds_column), pa.list_(pa.float32()), f"{signal.name} of each seed")


def _array(values: Tensor, lengths: Tensor | None = None) -> pa.Array:
    """(B,) as float32, (B, K) as lists, cut to ``lengths`` (B,) where given."""
    if values.ndim == 1:
        return pa.array(values.numpy())
    rows, width = values.shape
    if lengths is None:
        lengths = torch.full((rows,), width)
    kept = values[torch.arange(width) < lengths[:, None]]
    offsets = np.concatenate([[0], np.cumsum(lengths.numpy())]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(kept.numpy()))


def _not_finite(column: pa.ChunkedArray) -> np.ndarray:
    """Which rows hold a NaN or infinite number, also inside a list."""
    array = column.combine_chunks()
    if not pa.types.is_list(array.type):
        return ~np.isfinite(array.to_numpy(zero_copy_only=False))
    broken = ~np.isfinite(array.flatten().to_numpy(zero_copy_only=False))
    sums = np.concatenate([[0], np.cumsum(broken)])
    offsets = np.asarray(array.offsets) - array.offsets[0].as_py()
    return sums[offsets[1:]] > sums[offsets[:-1]]
