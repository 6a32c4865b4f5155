"""A copy-detection embedding that the user names, such as SSCD (Pizzi et al., CVPR 2022)."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from scanner.captions.images import resize_and_crop
from scanner.errors import UserError
from scanner.evidence.verify.measures import as_tensor
from scanner.storage import fetch

SIZE = 288
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CACHE = Path.home() / ".cache" / "memscan" / "embeddings"


class Embedding:
    """A TorchScript (.pt) or ONNX (.onnx) file that makes (N, D) of pictures (N, 3, 288, 288).

    ``sha256`` pins what is run: a script is a program. Pictures are scaled to 288 px and
    normalised as for ImageNet, as SSCD asks for. Raises UserError for another file than the one
    that was pinned, and for what is neither TorchScript nor ONNX; a pickle is never loaded.
    """

    def __init__(self, url: str, sha256: str) -> None:
        try:
            data = fetch(url, CACHE).read_bytes()
        except OSError as error:
            raise UserError(f"--embedding {url}: cannot be read: {error}") from error
        # What was hashed is what runs: the file itself is not opened again.
        found = hashlib.sha256(data).hexdigest()
        if found != sha256.lower():
            raise UserError(
                f"--embedding {url}: its SHA-256 is {found}, not {sha256}; a script can do "
                "anything, so name the hash of the file that you trust by --embedding-sha256"
            )
        self.url = url
        self.run = _onnx(data, url) if url.lower().endswith(".onnx") else _script(data, url)

    @torch.inference_mode()
    def likeness(self, images_SCHW: Tensor, reference: Image.Image) -> float:
        """Mean cosine of the pictures with a training image."""
        height, width = images_SCHW.shape[-2:]
        target = as_tensor(resize_and_crop(reference, height, width))[None]
        both = torch.cat([images_SCHW, target])
        scaled = torch.nn.functional.interpolate(
            both, size=(SIZE, SIZE), mode="bilinear", antialias=True
        )
        mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
        vectors = torch.nn.functional.normalize(self._vectors((scaled - mean) / std), dim=1)
        return float((vectors[:-1] @ vectors[-1]).mean())

    def _vectors(self, pictures_NCHW: Tensor) -> Tensor:
        found = self.run(pictures_NCHW)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(pictures_NCHW):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(
                f"--embedding {self.url}: gives {shape} where one vector a picture is wanted"
            )
        return found.float()


def _script(data: bytes, url: str) -> Any:
    try:
        return torch.jit.load(io.BytesIO(data), "cpu").eval()
    except RuntimeError as error:
        raise UserError(
            f"--embedding {url}: no TorchScript (torch.jit.save makes one; a checkpoint of "
            f"weights is none): {str(error).splitlines()[0]}"
        ) from error


def _onnx(data: bytes, url: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            "an .onnx embedding needs the package onnxruntime: pip install onnxruntime"
        ) from error
    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class
        raise UserError(f"--embedding {url}: no ONNX model: {error}") from error
    name = session.get_inputs()[0].name
    return lambda pictures: torch.from_numpy(session.run(None, {name: pictures.numpy()})[0])
