"""Denoising errors of images with and without captions, at fixed noises.

Shapes: N images, M captions, P pairs of both, S noise levels, K noises per level.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from scanner.cluster import report
from scanner.memory import is_out_of_memory
from scanner.models import Conditioning, DiffusionModel
from scanner.models.encoding import Encode
from scanner.models.noise_process import Timestep
from scanner.scoring.precision import fix_precision
from scanner.signals.discrepancy import conditional_discrepancy, denoising_error


@dataclass(frozen=True)
class SampleErrors:
    """``discrepancy_PSK``: ‖ε − ε_∅‖² − ‖ε − ε_c‖² of the pairs; ``unconditional_PSK``: the first
    term, of their images."""

    discrepancy_PSK: Tensor
    unconditional_PSK: Tensor


class SampleDenoiser:
    """Measures denoising errors with one model.

    ``levels``: timesteps; ``noises``: per level, noise k the same for every image and level, as
    the initial noise of seed k. ``batch_size``: forwards per batch, halved for good when the
    device runs out of memory; it changes speed, never scores (beyond rounding).
    """

    def __init__(
        self,
        model: DiffusionModel,
        encode: Encode,
        levels: Sequence[Timestep],
        noises: int,
        batch_size: int,
        height: int | None = None,
        width: int | None = None,
    ) -> None:
        self.model, self.encode, self.levels = model, encode, tuple(levels)
        self.batch_size = batch_size
        self.latent_shape = model.latent_shape(height, width)
        fix_precision(model.device)
        drawn = [
            torch.randn((1, *self.latent_shape), generator=torch.Generator("cpu").manual_seed(seed))
            for seed in range(noises)
        ]
        self.noise_KCHW = torch.cat(drawn).to(model.device)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that are scored."""
        height, width = (side * self.model.pixels_per_latent for side in self.latent_shape[1:])
        return height, width

    @torch.inference_mode()
    def latents(self, images_NCHW: Tensor) -> Tensor:
        """Encode images (N, 3, H, W) in [-1, 1], of ``size``: (N, C, h, w)."""
        return self._in_batches(len(images_NCHW), lambda part: self.encode(images_NCHW[part]))

    @torch.inference_mode()
    def errors(
        self, x_NCHW: Tensor, captions: list[str], pairs: Sequence[tuple[int, int]]
    ) -> SampleErrors:
        """Measure pairs of an image's and a caption's number.

        The forwards without a caption run once per image, whatever its captions.
        """
        texts = self._texts(captions)
        image_P = torch.tensor([image for image, _ in pairs])
        # Rows: every image without a caption, whose text has number 0, then the pairs.
        image_R = torch.cat([torch.arange(len(x_NCHW)), image_P])
        text_R = torch.tensor([0] * len(x_NCHW) + [1 + caption for _, caption in pairs])
        noises = len(self.noise_KCHW)

        def error(level: Timestep, part: slice) -> Tensor:
            number = torch.arange(part.start, part.stop)
            row, k = number // noises, number % noises
            x, noise = x_NCHW[image_R[row]], self.noise_KCHW[k]
            noised = self.model.noise_process.add_noise(x, noise, level)
            predicted = self.model.predict(noised, level, _chosen(texts, text_R[row]))
            report(part.stop)
            return denoising_error(self.model.noise_process.target(x, noise), predicted).cpu()

        count = len(image_R) * noises
        levels = [self._in_batches(count, partial(error, level)) for level in self.levels]
        error_RSK = torch.stack([each.unflatten(0, (-1, noises)) for each in levels], 1)
        without_PSK = error_RSK[: len(x_NCHW)][image_P]
        of_pairs_PSK = error_RSK[len(x_NCHW) :]
        return SampleErrors(conditional_discrepancy(without_PSK, of_pairs_PSK), without_PSK)

    def _texts(self, captions: list[str]) -> Conditioning:
        """Return the conditioning of the empty caption, then of the captions."""
        parts = [self.model.encode_empty(self.latent_shape)]
        for start in range(0, len(captions), self.batch_size):
            tokens = self.model.tokenize(captions[start : start + self.batch_size])
            parts.append(self.model.encode(tokens.to(self.model.device), self.latent_shape))
        return Conditioning(
            torch.cat([part.hidden_BLC for part in parts]),
            {name: torch.cat([part.added[name] for part in parts]) for name in parts[0].added},
        )

    def _in_batches(self, count: int, run: Callable[[slice], Tensor]) -> Tensor:
        """Return the joined results of ``run`` over ranges of at most ``batch_size``."""
        results: list[Tensor] = []
        start = 0
        while start < count:
            part = slice(start, min(count, start + self.batch_size))
            try:
                results.append(run(part))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.batch_size == 1:
                    raise
            else:
                start = part.stop
                continue
            # After the failed frames are gone: until then, their tensors hold memory.
            torch.cuda.empty_cache()
            self.batch_size //= 2
        return torch.cat(results)


def _chosen(texts: Conditioning, numbers: Tensor) -> Conditioning:
    return Conditioning(
        texts.hidden_BLC[numbers], {name: value[numbers] for name, value in texts.added.items()}
    )
