"""Images as tensors, and back."""

import torch
from PIL import Image
from torch import Tensor


def as_tensor(image: Image.Image) -> Tensor:
    """Convert an image to (3, H, W) in [0, 1]."""
    flat = torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1).float() / 255


def as_image(picture_CHW: Tensor) -> Image.Image:
    values = (picture_CHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(values.contiguous().numpy())
