"""Stable Diffusion 3's adapter against diffusers' own pipeline on the same weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from scanner.errors import UserError
from scanner.models import DiffusionModel, canonical, find_model, load_model
from scanner.models.families.stable_diffusion_3 import T5_LENGTH
from scanner.models.loading import canonical_tokenizer
from scanner.models.pipeline import load_pipeline, pipeline_of
from scanner.scoring import Scorer
from tests.models.damage import SCHEDULER, Change, set_json
from tests.random_transformers import KINDS

CAPTIONS = ["a red apple on a table", "Wow! The Great Wave, 1831!", "", "word " * 300]
CLIP = 77


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, random_transformers: dict[str, Path]) -> Path:
    return random_transformers[request.param]


@pytest.fixture(scope="module")
def model(folder: Path) -> DiffusionModel:
    return load_model(str(folder))


def _pipe(folder: Path, dtype: torch.dtype = torch.float32) -> DiffusionPipeline:
    index = json.loads((folder / "model_index.json").read_text())
    absent = {name: None for name in ("text_encoder_3", "tokenizer_3") if index[name] == [None] * 2}
    return DiffusionPipeline.from_pretrained(folder, dtype=dtype, **absent)


def _encoded(pipe: DiffusionPipeline) -> tuple[torch.Tensor, ...]:
    """(hidden states, of the empty caption, pooled, of the empty caption) by the pipeline."""
    return pipe.encode_prompt(CAPTIONS, None, None, do_classifier_free_guidance=True)


@torch.no_grad()
def test_conditioning_is_the_pipelines_own(model: DiffusionModel, folder: Path) -> None:
    hidden, empty, pooled, empty_pooled = _encoded(_pipe(folder))
    text = model.encode(model.tokenize(CAPTIONS))
    nothing = model.encode_empty().expand(len(CAPTIONS))
    assert text.hidden_BLC.shape == (len(CAPTIONS), CLIP + T5_LENGTH, 96)
    assert (text.hidden_BLC[:, CLIP:] == 0).all() == (model.tokenizer_3 is None)
    for ours, theirs in ((text, (hidden, pooled)), (nothing, (empty, empty_pooled))):
        assert torch.allclose(ours.hidden_BLC, theirs[0], atol=1e-6)
        assert ours.added.keys() == {"pooled_projections"}
        assert torch.allclose(ours.added["pooled_projections"], theirs[1], atol=1e-6)
    assert not torch.allclose(hidden[0], hidden[1], atol=1e-2), "equal texts would test nothing"


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("time", [1000.0, 500, 8.5])
def test_the_velocity_is_the_pipelines_own(
    model: DiffusionModel, folder: Path, time: float
) -> None:
    """The transformer as the pipeline calls it: both branches of guidance in one batch."""
    pipe = _pipe(folder)
    hidden, empty, pooled, empty_pooled = _encoded(pipe)
    x = torch.randn(len(CAPTIONS), *model.latent_shape(), generator=torch.manual_seed(0))
    without, with_caption = pipe.transformer(
        hidden_states=torch.cat([x] * 2),
        timestep=torch.tensor(float(time)).expand(2 * len(CAPTIONS)),
        encoder_hidden_states=torch.cat([empty, hidden]),
        pooled_projections=torch.cat([empty_pooled, pooled]),
        return_dict=False,
    )[0].chunk(2)
    text = model.encode(model.tokenize(CAPTIONS))
    velocity = model.predict(x, time, text)
    assert torch.allclose(velocity, with_caption, atol=1e-5)
    nothing = model.encode_empty().expand(len(CAPTIONS))
    assert torch.allclose(model.predict(x, time, nothing), without, atol=1e-5)
    assert (with_caption - without)[0].abs().mean() > 0.01, "equal branches would test nothing"


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_that_of_the_pipeline(folder: Path, dtype: str) -> None:
    model = load_model(str(folder), dtype)
    hidden, _, pooled, _ = _encoded(_pipe(folder, getattr(torch, dtype)))
    text = model.encode(model.tokenize(CAPTIONS))
    assert text.hidden_BLC.dtype == text.added["pooled_projections"].dtype == model.dtype
    assert torch.allclose(text.hidden_BLC, hidden, atol=0.02)
    assert torch.allclose(text.added["pooled_projections"], pooled, atol=0.02)
    x = torch.randn(len(CAPTIONS), *model.latent_shape(), generator=torch.manual_seed(0))
    velocity = model.predict(x, 1000, text)
    assert velocity.dtype == torch.float32
    assert velocity.isfinite().all()


@pytest.mark.slow
def test_words_are_those_of_clip_and_of_t5(random_transformers: dict[str, Path]) -> None:
    """Beginning, end, padding and the zeros in place of T5 are not words."""
    for kind in ("sd3", "sd3-t5"):
        model = load_model(str(random_transformers[kind]))
        tokens = model.tokenize(CAPTIONS)
        assert tokens.words_BL.shape == (len(CAPTIONS), CLIP + T5_LENGTH)
        for row, caption in enumerate(CAPTIONS):
            clip = min(len(model.tokenizer(caption)["input_ids"]), CLIP)
            expected = set(range(1, clip - 1))
            if kind == "sd3-t5":
                t5 = min(len(model.tokenizer_3(caption)["input_ids"]), T5_LENGTH)
                expected |= set(range(CLIP, CLIP + t5 - 1))
            assert set(tokens.words_BL[row].nonzero()[:, 0].tolist()) == expected, caption
        assert tokens.words_BL[2].sum() == 0


@pytest.mark.slow
def test_a_caption_is_truncated_if_every_tokenizer_cuts_it(
    random_transformers: dict[str, Path],
) -> None:
    captions = ["word", "word " * 100, "word " * 300]
    cut = {
        kind: load_model(str(random_transformers[kind])).tokenize(captions).truncated
        for kind in ("sd3", "sd3-t5")
    }
    assert cut == {"sd3": [False, True, True], "sd3-t5": [False, False, True]}


def test_parts_of_a_batch_keep_their_tokens(model: DiffusionModel) -> None:
    tokens = model.tokenize(CAPTIONS)
    part, padded = tokens[1:3], tokens[1:3].padded(4)
    assert torch.equal(part.words_BL, tokens.words_BL[1:3])
    for ids, own in zip(part.more_ids, tokens.more_ids, strict=True):
        assert torch.equal(ids, own[1:3])
    assert torch.equal(padded.words_BL[3], tokens.words_BL[2])
    assert all(len(ids) == 4 for ids in padded.more_ids)


@pytest.mark.slow
@torch.no_grad()
def test_whole_pipelines_have_all_of_the_text(folder: Path) -> None:
    """Those that draw, and that are trained and saved, read a caption as the scores do."""
    files = find_model(str(folder))
    expected = _encoded(_pipe(folder))
    for pipe in (
        load_pipeline(files, "float32", "cpu"),
        pipeline_of(files, load_model(files)),
    ):
        assert (pipe.tokenizer_3 is None) == (pipe.text_encoder_3 is None)
        for ours, theirs in zip(_encoded(pipe), expected, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        set_json(SCHEDULER, shift=2.0),
        set_json("text_encoder_3/config.json", layer_norm_epsilon=1e-3),
        set_json("transformer/config.json", pos_embed_max_size=10),
        lambda folder: _rescore(folder / "tokenizer_3/tokenizer.json"),
    ],
    ids=["shift", "t5", "transformer", "t5_scores"],
)
def test_the_hash_covers_what_scores_depend_on(
    random_transformers: dict[str, Path], tmp_path: Path, change: Change
) -> None:
    own = random_transformers["sd3-t5"]
    other = Path(shutil.copytree(own, tmp_path / "model"))
    same = find_model(str(other)).weights_hash()
    assert same == find_model(str(own)).weights_hash()
    change(other)
    assert find_model(str(other)).weights_hash() != same


def _rescore(file: Path) -> None:
    """Change the score of a piece of a Unigram vocabulary, and so how texts are split."""
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["vocab"][-5][1] = -20.0
    file.write_text(json.dumps(tokenizer))


def test_the_early_layers_are_the_first_quarter(model: DiffusionModel) -> None:
    blocks = len(model.transformer.transformer_blocks)
    assert model.layers == [f"transformer_blocks.{number}.attn" for number in range(blocks)]
    assert model.early_layers == model.map_layers == (0, 1)
    assert model.entropy_layer == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"height": 72}, "height 72: must be a multiple of 16"),
        ({"width": 8}, "width 8: must be a multiple of 16"),
        ({"width": 208}, "width 208: this model draws at most 192"),
    ],
)
def test_sizes_that_the_pipeline_refuses_are_refused(
    random_transformers: dict[str, Path], size: dict[str, int], message: str
) -> None:
    model = load_model(str(random_transformers["sd3-t5"]))
    assert model.latent_shape(height=96, width=64) == (16, 12, 8)
    assert model.latent_shape(side=0.4) == (16, 4, 4), "whole patches"
    with pytest.raises(UserError, match=message):
        model.latent_shape(**size)


@pytest.mark.slow
def test_captions_are_alike_if_every_tokenizer_reads_them_alike(
    random_transformers: dict[str, Path],
) -> None:
    """CLIP's tokenizer lower-cases, T5's does not: each caption then needs a score of its own."""
    for kind, alike in (("sd3", True), ("sd3-t5", False)):
        files = find_model(str(random_transformers[kind]))
        model = load_model(files)
        for tokenizer in (model.canonical_tokenizer, canonical_tokenizer(files)):
            same = canonical(tokenizer, "A Red Apple") == canonical(tokenizer, "a red apple")
            assert same == alike
            assert canonical(tokenizer, " \n") == ""
        ids = Scorer(model, "triage").score(["A Red Apple", "a red apple"])["caption_id"]
        assert (len(set(ids.to_pylist())) == 1) == alike
