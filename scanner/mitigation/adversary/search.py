"""Search near a caption for starts that denoise its training image better than the caption."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from scanner.mitigation.adversary.embedding_search import relative_distance, search_embeddings
from scanner.mitigation.adversary.image_error import ImageErrors
from scanner.mitigation.adversary.image_path import ImagePath
from scanner.mitigation.adversary.options import MOST_CANDIDATES, AdversaryOptions
from scanner.mitigation.adversary.token_swaps import Vocabulary, search_swaps
from scanner.models import DiffusionModel
from scanner.models.encoding import Encode

AttackKind = Literal["caption", "embedding", "swap"]


@dataclass(frozen=True)
class Attack:
    """A start near a caption, to generate from. ``kind``: what was changed, if anything.

    ``caption``: the given one, or with words replaced; ``offset_LC``: to add to its embedding, zero
    for a swap; ``distance``: from the caption's embedding, see relative_distance; ``error``: the
    denoising error of the training image, relative to that with the caption.
    """

    kind: AttackKind
    caption: str
    offset_LC: Tensor
    distance: float
    error: float


class Adversary:
    """Searches with one pipeline.

    ``model``: shares the pipeline's parts; ``generate``: calls the pipeline, with its mitigation
    if it has one; ``encode``: images to latents; ``batch_size``: captions of a forward. A caption's
    result does not depend on other captions, beyond rounding.
    """

    def __init__(
        self,
        model: DiffusionModel,
        pipe: Any,
        generate: Callable[..., Any],
        encode: Encode,
        options: AdversaryOptions,
        guidance: float,
        batch_size: int,
        height: int | None = None,
        width: int | None = None,
    ) -> None:
        self.model, self.pipe, self.generate, self.encode = model, pipe, generate, encode
        self.options, self.guidance, self.batch_size = options, guidance, batch_size
        self.latent_shape = model.latent_shape(height, width)
        name, encoder = next(iter(model.tokenizers.items()))
        self.vocabulary = Vocabulary(getattr(model, name), model.text_encoders[encoder])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the training images."""
        height, width = (side * self.model.pixels_per_latent for side in self.latent_shape[1:])
        return height, width

    @torch.inference_mode(False)
    def search(self, captions: Sequence[str], images_GCHW: Tensor) -> list[tuple[int, Attack]]:
        """Return up to one attack of each kind per caption, with the caption's number.

        ``images_GCHW``: the captions' training images, of ``size``, in [-1, 1].
        """
        # A copy, since a tensor made in inference mode has no gradient.
        x_GChw = self.encode(images_GCHW).clone()
        path = ImagePath(self.pipe, self.generate, self.model.noise_process, self.guidance)
        errors = ImageErrors(path, captions, x_GChw, self.options.attack_noises, self.batch_size)
        hidden_GLC = torch.cat([self._hidden(caption) for caption in captions])
        found = []
        if self.options.radius:
            found += list(enumerate(self._move(captions, hidden_GLC, errors)))
        if self.options.swaps:
            found += self._swap(captions, hidden_GLC, errors)
        return sorted(found, key=lambda attack: attack[0])

    def _move(
        self, captions: Sequence[str], hidden_GLC: Tensor, errors: ImageErrors
    ) -> list[Attack]:
        options = self.options
        offset_GLC, error_G = search_embeddings(
            errors, hidden_GLC, options.radius, options.attack_steps, self.model.begins
        )
        return [
            Attack("embedding", caption, offset.cpu(), relative_distance(hidden, offset), error)
            for caption, hidden, offset, error in zip(
                captions, hidden_GLC, offset_GLC, error_G.tolist(), strict=True
            )
        ]

    def _swap(
        self, captions: Sequence[str], hidden_GLC: Tensor, errors: ImageErrors
    ) -> list[tuple[int, Attack]]:
        attacks = []
        for number, (caption, hidden_LC) in enumerate(zip(captions, hidden_GLC, strict=True)):
            swapped = search_swaps(
                self.model,
                caption,
                self.vocabulary,
                partial(errors.of, number=number),
                self.options.swaps,
                self.options.neighbors,
                MOST_CANDIDATES,
            )
            if swapped is None:
                continue
            moved_LC = self._hidden(swapped[0])[0] - hidden_LC
            distance = relative_distance(hidden_LC, moved_LC)
            unmoved = torch.zeros_like(moved_LC).cpu()
            attacks.append((number, Attack("swap", swapped[0], unmoved, distance, swapped[1])))
        return attacks

    @torch.no_grad()
    def _hidden(self, caption: str) -> Tensor:
        """Return a caption's embedding (1, L, C)."""
        tokens = self.model.tokenize([caption])
        return self.model.encode(tokens, self.latent_shape).hidden_BLC.float()
