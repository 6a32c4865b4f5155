"""Images depend only on caption, seed and recipe; the first step matches that of the scores."""

from pathlib import Path

import pytest
import torch

from scanner.evidence.verify.drawing import Recipe, draw
from scanner.models import ModelSpec, find_model, load_model
from scanner.models.pipeline import load_pipeline
from tests.random_pipelines import KINDS

RECIPE = Recipe(ModelSpec("m", dtype="float32"), "", 2, 3, 5.0, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_images_do_not_depend_on_the_rest_of_the_batch(
    kind: str, random_models: dict[str, Path]
) -> None:
    files = find_model(str(random_models[kind]))
    pipe = load_pipeline(files, "float32", "cpu")
    wanted = [("a cat", 0), ("a cat", 1), ("two old boats", 1)]
    images, noise = draw(pipe, wanted, RECIPE)
    assert images.shape == (3, 3, 64, 64)
    alone, _ = draw(pipe, wanted[2:], RECIPE)
    torch.testing.assert_close(alone[0], images[2], atol=1e-4, rtol=0)

    model = load_model(files, dtype="float32", device="cpu")
    time = int(model.noise_process.timesteps(RECIPE.steps)[0])
    start = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        with_caption = model.predict(start, time, model.encode(model.tokenize(["a cat"])))
        without = model.predict(start, time, model.encode_empty())
    expected = with_caption - without
    if model.scheduler.config.prediction_type == "v_prediction":
        expected = expected / model.noise_process.alpha(time) ** 0.5  # all share this factor
    torch.testing.assert_close(noise[1:2], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_height_and_width_set_the_size(random_models: dict[str, Path]) -> None:
    from dataclasses import replace

    pipe = load_pipeline(find_model(str(random_models["sd1"])), "float32", "cpu")
    images, noise = draw(pipe, [("a cat", 0)], replace(RECIPE, height=32, width=96))
    assert images.shape == (1, 3, 32, 96)
    assert noise.shape == (1, 4, 4, 12)
