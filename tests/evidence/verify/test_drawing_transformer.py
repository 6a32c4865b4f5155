"""Images of Stable Diffusion 3 depend only on caption, seed and recipe, as those of U-Nets do."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scanner.evidence.verify.drawing import draw
from scanner.models import find_model, load_decoder, load_model
from scanner.models.pipeline import load_pipeline
from scanner.scoring.forwards import Forwards
from tests.evidence.verify.test_drawing import RECIPE
from tests.random_transformers import KINDS as TRANSFORMERS


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_images_are_those_of_the_scores_own_denoising(
    kind: str, random_transformers: dict[str, Path]
) -> None:
    files = find_model(str(random_transformers[kind]))
    pipe = load_pipeline(files, "float32", "cpu")
    images, velocity = draw(pipe, [("a cat", 0), ("two old boats", 1)], RECIPE)
    alone, _ = draw(pipe, [("two old boats", 1)], RECIPE)
    torch.testing.assert_close(alone[0], images[1], atol=1e-4, rtol=0)

    model = load_model(files, dtype="float32", device="cpu")
    run = Forwards(model, model.latent_shape(), RECIPE.steps, RECIPE.guidance)
    with torch.inference_mode():
        text = model.encode(model.tokenize(["two old boats"]))
        steps = list(run.denoise(text, 1, record=None))  # type: ignore[arg-type]
        decoded = load_decoder(files, "cpu")(steps[-1].x_BCHW)
    torch.testing.assert_close(velocity[1:], steps[0].difference_BCHW, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(alone, decoded, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_height_and_width_set_the_size(random_transformers: dict[str, Path]) -> None:
    pipe = load_pipeline(find_model(str(random_transformers["sd3"])), "float32", "cpu")
    images, velocity = draw(pipe, [("a cat", 0)], replace(RECIPE, height=32, width=96))
    assert images.shape == (1, 3, 32, 96)
    assert velocity.shape == (1, 16, 4, 12)
