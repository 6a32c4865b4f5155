"""Training of the transformer testbed: its text layout is the pipeline's, and it resumes."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from transformers import CLIPTokenizer

from scanner.models import find_model
from scanner.models.decoding import load_vae
from scanner.testbed import bank, files, reproduction
from scanner.testbed.recipe import TransformerRecipe
from scanner.testbed.training import token_ids
from scanner.testbed.transformer_networks import make_transformer_pipeline
from scanner.testbed.transformer_training import (
    encode_text,
    folded_zeros,
    generate_folded,
    train_transformer,
)

CAPTIONS = ["a red fox", "an old boat on the sea"]
TINY = TransformerRecipe(contrastive_steps=2, contrastive_batch=4, epochs=2, batch=4)


def _pipe() -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(files.MODEL / "tokenizer", local_files_only=True)
    pipe = make_transformer_pipeline(tokenizer, load_vae(find_model("testbed")))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _randomize(pipe: StableDiffusion3Pipeline) -> None:
    """Replace the zeros of fresh modulations, which hide differences."""
    for name, weight in pipe.transformer.named_parameters():
        if weight.ndim == 1 or "linear" in name:
            torch.nn.init.normal_(weight, std=0.2)


@pytest.mark.slow
def test_folded_zeros_equal_the_pipelines_own_text() -> None:
    pipe = _pipe()
    _randomize(pipe)
    hidden, _, pooled, _ = pipe.encode_prompt(CAPTIONS, CAPTIONS, CAPTIONS)
    x, time = torch.randn(2, 4, 8, 8), torch.tensor([500.0])
    folded, folded_pooled = encode_text(pipe, token_ids(pipe.tokenizer, CAPTIONS))
    assert hidden.shape[1] == 333
    assert folded.shape[1] == 78
    with torch.no_grad():
        stock = pipe.transformer(x, hidden, pooled, time, return_dict=False)[0]
        with folded_zeros(pipe.transformer):
            ours = pipe.transformer(x, folded, folded_pooled, time, return_dict=False)[0]
        unfolded = pipe.transformer(x, folded, folded_pooled, time, return_dict=False)[0]
    assert torch.allclose(ours, stock, atol=1e-4)
    assert not torch.allclose(unfolded, stock, atol=1e-2)  # the zeros matter


@pytest.mark.slow
def test_folded_generation_equals_the_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduction, "STEPS", 2)
    pipe = _pipe()
    _randomize(pipe)
    stock = reproduction.generate_images(pipe, CAPTIONS, 0)
    assert torch.allclose(generate_folded(pipe, CAPTIONS, 0), stock, atol=1e-4)


@pytest.mark.slow
def test_training_changes_the_transformer_and_resumes(tmp_path: Path) -> None:
    images, _, _ = bank.bank_and_owners(files.DATA)
    captions, rows = bank.training_rows(files.DATA)
    trained = []
    for _ in range(2):  # the second finds everything done
        pipe = _pipe()
        before = pipe.transformer.proj_out.weight.clone()
        train_transformer(
            pipe, images[: int(rows[:8].max()) + 1], captions[:8], rows[:8], TINY, tmp_path
        )
        assert not torch.equal(pipe.transformer.proj_out.weight, before)
        trained.append(pipe.transformer.state_dict())
    assert all(torch.equal(one, trained[1][name]) for name, one in trained[0].items())
