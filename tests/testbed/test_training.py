"""The testbed's training goes on from its checkpoints as if it had never been killed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

from scanner.errors import UserError
from scanner.testbed import files, networks, training
from scanner.testbed import recipe as recipes
from scanner.testbed.checkpoint import Checkpoint

TINY = recipes.TestbedRecipe(vae_steps=2, contrastive_steps=2, salad_steps=1, epochs=2, batch=4)


def toy(path: Path | None) -> Checkpoint:
    torch.manual_seed(0)
    linear = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(linear.parameters(), 0.1)
    return Checkpoint(path, torch.nn.ModuleDict({"linear": linear}), optimizer, every=2)


def train(state: Checkpoint, count: int, killed_at: int | None = None) -> torch.Tensor:
    linear = state.modules["linear"]
    for step in state.steps(count):
        if step == killed_at:
            break
        linear(torch.randn(5, 3)).square().mean().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
    return torch.cat([linear.weight.flatten(), linear.bias]).detach()


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = train(toy(None), 7)
    path = tmp_path / "toy.safetensors"
    killed = train(toy(path), 7, killed_at=5)  # the last save was after step 4
    assert not torch.equal(killed, whole)
    assert torch.equal(train(toy(path), 7), whole)
    assert torch.equal(train(toy(path), 7), whole)  # finished: nothing is left to train


def test_a_checkpoint_beyond_the_recipe_is_refused(tmp_path: Path) -> None:
    train(toy(tmp_path / "toy.safetensors"), 4)
    with pytest.raises(UserError, match="at step 4 of 2"):
        train(toy(tmp_path / "toy.safetensors"), 2)


@pytest.mark.slow
@pytest.mark.parametrize("text_encoder", ["joint", "frozen"])
def test_a_text_encoder_is_trained_as_the_recipe_says(text_encoder: str, tmp_path: Path) -> None:
    recipe = replace(TINY, text_encoder=text_encoder, latent_channels=6, prediction="epsilon")
    tokenizer = CLIPTokenizer.from_pretrained(files.MODEL / "tokenizer")
    torch.manual_seed(0)
    pipe = networks.make_pipeline(tokenizer, recipe)
    images, captions = torch.rand(3, 3, 32, 32) * 2 - 1, ["a cat", "a dog", "a cat", "a bus"] * 2
    rows = torch.tensor([0, 1, 0, 2] * 2)
    training.train(pipe, images, captions, rows, recipe, tmp_path)
    trained_first = text_encoder == "frozen"
    assert (tmp_path / "text.safetensors").exists() == trained_first
    assert all(weight.requires_grad != trained_first for weight in pipe.text_encoder.parameters())
    assert pipe.unet.config.in_channels == pipe.vae.config.latent_channels == 6
    text = {name: value.clone() for name, value in pipe.text_encoder.state_dict().items()}

    again = networks.make_pipeline(tokenizer, recipe)
    training.train(again, images, captions, rows, recipe, tmp_path)
    for name, value in again.text_encoder.state_dict().items():
        assert torch.equal(value, text[name])
    for name, value in again.unet.state_dict().items():
        assert torch.equal(value, pipe.unet.state_dict()[name])
