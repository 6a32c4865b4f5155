"""The embedding that an index is made and searched with: the built-in descriptor or a file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scanner.captions.images import open_image, resize_and_crop
from scanner.evidence.embedding import SIZE, Embedding
from scanner.evidence.embedding_file import EmbeddingFile
from scanner.evidence.index import descriptor
from scanner.storage import bare_name

BUILT_IN_MATCH = 0.955
"""Fitted as python -m jobs.studies.image_sources fits it."""
GIVEN_MATCH = 0.75
"""What the authors of SSCD use as the threshold of a copy (Pizzi et al., CVPR 2022)."""
# Images are decoded at this many times the side at least, as far as they have the pixels.
OVERSAMPLED = 4


@dataclass(frozen=True)
class Embedder:
    """Maps images to unit vectors.

    ``name``, ``sha256``: of the embedding, which an index records; ``side``: pixels of the square
    that images are cropped to; ``match``: the default threshold of a copy; ``embed``: maps images
    (N, 3, side, side) in [0, 1] to unit vectors (N, D).
    """

    name: str
    sha256: str
    side: int
    match: float
    embed: Callable[[Tensor], Tensor]

    @property
    def decoded_side(self) -> int:
        """Maximum width and height that images are decoded at."""
        return OVERSAMPLED * self.side

    def crop(self, image: Image.Image) -> np.ndarray:
        """Scale an image to cover the square and crop its center, as for training: (side, side, 3),
        in bytes."""
        return np.asarray(resize_and_crop(image, self.side, self.side))

    def decode(self, data: bytes) -> np.ndarray:
        """Decode an image file, and crop it. Raises NotAnImage."""
        return self.crop(open_image(data, self.decoded_side))

    @torch.inference_mode()
    def vectors(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Return the vectors of crops: (N, D), float32."""
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        return self.embed(pixels).numpy()

    def dimension(self) -> int:
        """Return D, from the vector of a black image. Raises UserError for another output."""
        return int(self.embed(torch.zeros(1, 3, self.side, self.side)).shape[1])


def make_embedder(file: EmbeddingFile | None, device: str = "cpu") -> Embedder:
    """Return the embedder of a file, or the built-in one. Raises UserError for an invalid file."""
    if file is None:
        return Embedder(
            descriptor.NAME,
            descriptor.SHA256,
            descriptor.SIDE,
            BUILT_IN_MATCH,
            descriptor.describe,
        )
    embedding = Embedding(file.url, file.sha256, device=device)
    name = bare_name(file.url).rpartition("/")[2]
    return Embedder(name, file.sha256.lower(), SIZE, GIVEN_MATCH, embedding.vectors)
