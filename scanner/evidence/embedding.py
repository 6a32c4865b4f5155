"""A user-supplied copy-detection embedding, such as SSCD (Pizzi et al., CVPR 2022)."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from scanner.captions.images import resize_and_crop
from scanner.errors import UserError
from scanner.evidence.image_tensors import as_tensor
from scanner.storage import fetch

SIZE = 288
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CACHE = Path.home() / ".cache" / "memscan" / "embeddings"


class Embedding:
    """A TorchScript (.pt) or ONNX (.onnx) file that maps images (N, 3, 288, 288) to (N, D).

    ``sha256`` pins the file, since a script can run any code. Images are resized to 288 px and
    normalized with ImageNet statistics, as SSCD requires. Never loads a pickle. ``cache``: where to
    keep downloads; ``device``: where TorchScript runs (ONNX runs on the CPU). Raises UserError if
    the hash differs or the file is neither TorchScript nor ONNX.
    """

    def __init__(self, url: str, sha256: str, cache: Path = CACHE, device: str = "cpu") -> None:
        try:
            data = fetch(url, cache).read_bytes()
        except OSError as error:
            raise UserError(f"--embedding {url}: cannot be read: {error}") from error
        # Run the hashed bytes: the file is not opened again.
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256.lower():
            raise UserError(
                f"--embedding {url}: its SHA-256 is {actual}, not {sha256}; a script can run any "
                "code, so give the hash of the file that you trust as --embedding-sha256"
            )
        self.url = url
        is_onnx = url.lower().endswith(".onnx")
        self.device = "cpu" if is_onnx else device
        self.run = _onnx(data, url) if is_onnx else _script(data, url, device)

    def likeness(self, images_SCHW: Tensor, reference: Image.Image) -> float:
        """Return the mean cosine similarity of the images with a training image."""
        height, width = images_SCHW.shape[-2:]
        target = as_tensor(resize_and_crop(reference, height, width))[None]
        vectors = self.vectors(torch.cat([images_SCHW, target]))
        return float((vectors[:-1] @ vectors[-1]).mean())

    @torch.inference_mode()
    def vectors(self, images_NCHW: Tensor) -> Tensor:
        """Return the unit vectors (N, D) of images in [0, 1]."""
        scaled = torch.nn.functional.interpolate(
            images_NCHW, size=(SIZE, SIZE), mode="bilinear", antialias=True
        )
        mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
        return torch.nn.functional.normalize(self._vectors((scaled - mean) / std), dim=1)

    def _vectors(self, pictures_NCHW: Tensor) -> Tensor:
        output = self.run(pictures_NCHW.to(self.device))
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(pictures_NCHW):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(
                f"--embedding {self.url}: must return one vector per image, got {shape}; use a "
                "model that outputs (N, D)"
            )
        return output.float().cpu()


def _script(data: bytes, url: str, device: str) -> Any:
    try:
        return torch.jit.load(io.BytesIO(data), device).eval()
    except RuntimeError as error:
        raise UserError(
            f"--embedding {url}: not TorchScript; save the model with torch.jit.save (a checkpoint "
            f"of weights does not work): {str(error).splitlines()[0]}"
        ) from error


def _onnx(data: bytes, url: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"--embedding {url}: needs the package onnxruntime; run pip install onnxruntime"
        ) from error
    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise UserError(f"--embedding {url}: not an ONNX model: {error}") from error
    name = session.get_inputs()[0].name
    return lambda pictures: torch.from_numpy(session.run(None, {name: pictures.numpy()})[0])
