"""Equal text positions at the end, such as zeros in place of T5's, run as one: an exact saving."""

import pytest
import torch

from scanner.models import load_model
from scanner.models.families.stable_diffusion_3 import T5_LENGTH
from scanner.probe import recording_denoiser

CAPTIONS = ["a red fox", "an old boat on the sea", ""]


@pytest.mark.slow
@pytest.mark.parametrize("depth", [None, 2])
def test_one_position_for_equal_ones_changes_nothing(depth: int | None) -> None:
    model = load_model("testbed-dit", device="cpu")
    text = model.encode(model.tokenize(CAPTIONS))
    x = torch.randn((1, *model.latent_shape()), generator=torch.Generator().manual_seed(0))
    results, tokens = [], []
    for equal_tail in (0, model.equal_tail):
        recording = recording_denoiser(
            model.denoiser, model.layers, model.run, depth, equal_tail=equal_tail
        )
        recording.copy.context_embedder.register_forward_hook(
            lambda _, inputs, __: tokens.append(inputs[0].shape[1])
        )
        recording.load(x, 500, {})
        with torch.inference_mode():
            results.append(recording(text.hidden_BLC, text.added))
    (output, abar), (folded_output, folded_abar) = results
    assert tokens == [77 + T5_LENGTH, 78]  # it is really used
    assert torch.allclose(folded_abar, abar, atol=1e-6)
    if depth is None:
        assert torch.allclose(folded_output, output, atol=1e-5)
