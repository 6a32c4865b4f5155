"""Divide captions into batches: similar lengths together, and encoded ahead if that saves copies.

Shapes: B captions, L text positions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from scanner.models import Conditioning, DiffusionModel, Tokens


@dataclass(frozen=True)
class CaptionBatch:
    """Captions that run together.

    numbers_B: their positions among all captions. tokens: trimmed to the longest caption. text:
    encoded ahead, in host memory; None if it is encoded with the batch.
    """

    numbers_B: Tensor
    tokens: Tokens
    text: Conditioning | None = None

    def __len__(self) -> int:
        return len(self.numbers_B)

    def __getitem__(self, part: slice) -> "CaptionBatch":
        text = None if self.text is None else self.text[part]
        return CaptionBatch(self.numbers_B[part], self.tokens[part], text)

    def padded(self, rows: int) -> "CaptionBatch":
        """The batch with its last caption repeated."""
        text = None if self.text is None else self.text.padded(rows)
        return CaptionBatch(self.numbers_B, self.tokens.padded(rows), text)


class BatchQueue:
    """The captions that are left to score, batch by batch.

    Where a model masks padding, the longest captions come first, so that batches of shorter ones
    are trimmed further. ``ahead``: captions that the text encoders encode at a time, for several
    batches; below two batches, each is encoded as it runs.
    """

    def __init__(
        self,
        model: DiffusionModel,
        latent_shape: tuple[int, ...],
        tokens: Tokens,
        ahead: int = 0,
    ) -> None:
        self._model, self._latent_shape, self._tokens = model, latent_shape, tokens
        self._ahead = ahead
        lengths_B = model.positions_read(tokens)
        self.is_by_length = lengths_B is not None
        """Whether captions run in another order than they came in."""
        self._left = torch.arange(len(tokens.n_B))
        if lengths_B is not None:
            self._left = lengths_B.argsort(descending=True, stable=True)
        self._encoded: CaptionBatch | None = None
        self._is_encoding = False

    def __len__(self) -> int:
        """Return the number of captions that are left."""
        return len(self._left)

    @torch.inference_mode()
    def peek(self, size: int, mixed: bool = False) -> CaptionBatch:
        """Return the next batch, which stays in the queue until :meth:`drop`.

        ``mixed``: of all lengths, and not encoded ahead, to compare the speed of batches.
        """
        is_worth_it = 2 * size <= self._ahead and size < len(self)
        if self._encoded is None and is_worth_it and not mixed:
            self._encode(self._ahead // size * size)
        if self._encoded is not None:
            return self._encoded[:size]
        if mixed and self.is_by_length:
            spread = torch.arange(min(size, len(self)))
            return self._batch(self._left[spread * len(self) // len(spread)])
        return self._batch(self._left[:size])

    def drop(self, batch: CaptionBatch) -> None:
        """Remove a batch that has run."""
        if self.is_by_length:
            self._left = self._left[~torch.isin(self._left, batch.numbers_B)]
        else:
            self._left = self._left[len(batch) :]
        if self._encoded is not None:
            self._encoded = self._encoded[len(batch) :] or None

    def encode_fewer(self) -> bool:
        """Halve the captions that are encoded at a time; return False unless encoding failed."""
        if not self._is_encoding:
            return False
        self._ahead, self._is_encoding = self._ahead // 2, False
        return True

    def _encode(self, rows: int) -> None:
        """Encode the next captions, for several batches."""
        self._is_encoding = True
        batch = self._batch(self._left[:rows])
        text = self._model.encode(batch.tokens.to(self._model.device), self._latent_shape)
        self._encoded = CaptionBatch(batch.numbers_B, batch.tokens, text.to(torch.device("cpu")))
        self._is_encoding = False

    def _batch(self, numbers_B: Tensor) -> CaptionBatch:
        if self.is_by_length:
            return CaptionBatch(numbers_B, self._model.trim(self._tokens.rows(numbers_B)))
        done = len(self._tokens.n_B) - len(self)
        return CaptionBatch(numbers_B, self._tokens[done : done + len(numbers_B)])
