"""The packaged model, data set and labels are consistent."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline

from scanner.models import find_model, load_model
from scanner.testbed import FOLDER, files, labels
from scanner.testbed.dataset import FAMILY_CAPTIONS, SIZES
from scanner.testbed.reproduction import verdict


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return labels().to_pylist()


def test_groups_have_their_designed_sizes(rows: list[dict]) -> None:
    counts = Counter(row["group"] for row in rows)
    assert counts["memorized"] == SIZES["memorized"]
    assert counts["repeated"] == SIZES["repeated"]
    assert counts["template"] == SIZES["template"] * FAMILY_CAPTIONS
    assert counts["heldout"] == SIZES["heldout"] >= 500


def test_captions_have_the_number_of_rows_in_the_labels(rows: list[dict]) -> None:
    train = Counter(pq.read_table(files.TRAIN)["caption"].to_pylist())
    heldout = Counter(pq.read_table(files.HELDOUT)["caption"].to_pylist())
    for row in rows:
        assert train[row["caption"]] == row["rows"]
        assert heldout[row["caption"]] == (row["group"] == "heldout")


def test_repeated_captions_never_repeat_an_image(rows: list[dict]) -> None:
    repeated = {row["caption"] for row in rows if row["group"] == "repeated"}
    pairs = Counter()
    for row in pq.read_table(files.TRAIN, columns=["caption", "url"]).to_pylist():
        if row["caption"] in repeated:
            pairs[row["caption"], row["url"]] += 1
    assert max(pairs.values()) == 1


def test_held_out_images_are_not_in_the_training_set() -> None:
    train = set(pq.read_table(files.TRAIN)["url"].to_pylist())
    assert not train & set(pq.read_table(files.HELDOUT)["url"].to_pylist())


@pytest.mark.slow
def test_the_model_is_a_pipeline_with_16_cross_attentions() -> None:
    model = load_model("testbed")
    assert len(model.layers) == 16
    assert model.layers[3] == "down_blocks.1.attentions.1.transformer_blocks.0.attn2"
    assert model.latent_shape() == (4, 8, 8)
    pipe = StableDiffusionPipeline.from_pretrained(find_model("testbed").folder)
    pipe.to(dtype=torch.float32)  # stored as float16, which is slow on a CPU
    assert pipe("a cat", num_inference_steps=1, output_type="pt").images.shape == (1, 3, 32, 32)


def test_both_testbeds_label_the_same_captions(rows: list[dict]) -> None:
    described = [{key: row[key] for key in ("caption", "group", "family", "rows")} for row in rows]
    of_transformer = labels("testbed-dit").select(["caption", "group", "family", "rows"])
    assert of_transformer.to_pylist() == described


def test_verdicts_follow_from_labels_and_families() -> None:
    for name in files.TESTBEDS:
        for row in labels(name).to_pylist():
            assert row["verdict"] == verdict(row["memorized"], row["family"])


def test_the_transformer_memorized_what_was_repeated() -> None:
    shares: dict[str, list[bool]] = {}
    for row in labels("testbed-dit").to_pylist():
        shares.setdefault(row["group"], []).append(row["memorized"])
    assert all(shares["memorized"])
    assert sum(shares["template"]) > 0.9 * len(shares["template"])
    assert sum(shares["once"]) < 0.01 * len(shares["once"])
    assert not any(shares["repeated"] + shares["heldout"])


def test_the_transformer_shares_vae_and_tokenizer_with_the_unet() -> None:
    model, own = files.MODEL, files.TESTBEDS["testbed-dit"].model
    for name in ("tokenizer", "tokenizer_2"):
        for file in ("tokenizer.json", "tokenizer_config.json"):
            assert (own / name / file).read_bytes() == (model / "tokenizer" / file).read_bytes()
    weights = Path("vae", "diffusion_pytorch_model.safetensors")
    assert (own / weights).read_bytes() == (model / weights).read_bytes()


@pytest.mark.slow
def test_the_transformer_is_a_pipeline_of_stable_diffusion_3() -> None:
    model = load_model("testbed-dit")
    assert model.family == "stable-diffusion-3"
    assert len(model.layers) == 6
    pipe = StableDiffusion3Pipeline.from_pretrained(
        files.TESTBEDS["testbed-dit"].model, text_encoder_3=None, tokenizer_3=None
    )
    pipe.to(dtype=torch.float32)
    assert pipe("a cat", num_inference_steps=1, output_type="pt").images.shape == (1, 3, 32, 32)


def test_the_packaged_files_are_small() -> None:
    sizes = {
        name: sum(path.stat().st_size for path in (FOLDER / name).rglob("*") if path.is_file())
        for name in ("model", "model_dit", "data")
    }
    assert sizes["model"] < 12e6
    assert sizes["model_dit"] < 12e6  # of which 2.2 MB are links
    assert sizes["data"] < 8e6


@pytest.mark.slow
def test_labels_can_be_reproduced(rows: list[dict]) -> None:
    """A few clear cases of each label get the same label again."""
    from scanner.testbed.bank import bank_and_owners
    from scanner.testbed.reproduction import measure

    bank, own, groups = bank_and_owners(FOLDER / "data")
    known = {row["caption"]: row for row in rows}
    captions = groups["caption"].to_pylist()
    never = [i for i, c in enumerate(captions) if known[c]["reproduced"] == 0][-4:]
    always = [
        i
        for i, c in enumerate(captions)
        if known[c]["memorized"] and known[c]["reproduced"] == known[c]["tried"]
    ]
    chosen = always[:4] + never
    pipe = StableDiffusionPipeline.from_pretrained(files.MODEL)
    pipe.to(dtype=torch.float32)
    again = measure(pipe, groups.take(chosen), bank, [own[i] for i in chosen])
    assert again["memorized"].to_pylist() == [True] * 4 + [False] * 4
    assert again["verdict"].to_pylist() == [known[captions[i]]["verdict"] for i in chosen]
