"""Denoising errors of images from starts near their captions, relative to the captions' own.

Shapes: G captions, each with an image; K noises, S steps, L text positions, C channels of latents
or embeddings, h x w latent pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scanner.mitigation.adversary.image_path import ImagePath, Rows

_TINY = torch.finfo(torch.float32).tiny


class ImageErrors:
    """The error of a start: summed over noises, divided by that of its caption at the same step,
    and averaged over the steps; so every step counts alike, and a caption's own is 1.

    Noise k is the initial noise of seed k. ``batch_size``: rows of a forward; an error does not
    depend on the other rows, beyond rounding.
    """

    def __init__(
        self,
        path: ImagePath,
        captions: Sequence[str],
        x_GChw: Tensor,
        noises: int,
        batch_size: int,
    ) -> None:
        self.path, self.captions, self.x_GChw = path, list(captions), x_GChw
        self.batch_size = batch_size
        shape = (1, *x_GChw.shape[1:])
        drawn = [
            torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))
            for seed in range(noises)
        ]
        self.noise_KChw = torch.cat(drawn)
        numbers = torch.arange(len(captions))
        self.own_GS = self._errors(self.captions, numbers).clamp(min=_TINY)

    def of(self, captions: Sequence[str], number: int) -> Tensor:
        """Return the errors of captions near that of a number, one each."""
        errors = self._errors(captions, torch.full((len(captions),), number))
        return (errors / self.own_GS[number]).mean(1).cpu()

    def _errors(self, captions: Sequence[str], image: Tensor) -> Tensor:
        """Return the errors of captions with the images of these numbers by step, summed over the
        noises."""
        noises = len(self.noise_KChw)
        parts = [
            self.path.errors(self._rows(captions, image, part))
            for part in torch.arange(len(captions) * noises).split(self.batch_size)
        ]
        return torch.cat(parts).unflatten(0, (-1, noises)).sum(1)

    def gradient(self, offset_GLC: Tensor) -> tuple[Tensor, Tensor]:
        """Return the errors with offsets added to the captions' embeddings (G,), and each one's
        gradient (G, L, C)."""
        noises, weight_GS = len(self.noise_KChw), 1 / self.own_GS / self.own_GS.shape[1]
        errors, gradients = [], []
        numbers = torch.arange(len(self.captions))
        for part in torch.arange(len(self.captions) * noises).split(self.batch_size):
            rows = self._rows(self.captions, numbers, part, offset_GLC)
            weight_NS = weight_GS[part // noises]
            errors_NS, gradient_NLC = self.path.gradients(rows, weight_NS)
            errors.append((errors_NS * weight_NS).sum(1))
            gradients.append(gradient_NLC.float())
        by_noise = (torch.cat(parts).unflatten(0, (-1, noises)) for parts in (errors, gradients))
        error_GK, gradient_GKLC = by_noise
        return error_GK.sum(1), gradient_GKLC.sum(1)

    def _rows(
        self,
        captions: Sequence[str],
        image: Tensor,
        part: Tensor,
        offset_GLC: Tensor | None = None,
    ) -> Rows:
        """Return rows by their numbers: those of a caption with every noise, then of the next."""
        caption, noise = part // len(self.noise_KChw), part % len(self.noise_KChw)
        return Rows(
            [captions[number] for number in caption.tolist()],
            self.x_GChw[image[caption]],
            self.noise_KChw[noise],
            None if offset_GLC is None else offset_GLC[caption],
        )
