"""Models are weights: they load from this machine, from safetensors, and run no code of theirs."""

import ast
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextModel

from scanner.models import find_model, load_model
from tests.models.damage import TEXT_CONFIG, set_json

ROOT = Path(__file__).parents[2]
# Options that keep a library to its own code; _own_code, of parts.py, gives those of transformers.
STATED = {
    "local_files_only": {"from_pretrained", "from_single_file"},
    "trust_remote_code": {"from_pretrained"},
}


@pytest.mark.slow
def test_every_model_is_loaded_without_remote_code() -> None:
    found = 0
    for path in (path for room in ("scanner", "jobs") for path in (ROOT / room).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(call, "func", None), "attr", "")
            if not isinstance(call, ast.Call) or name not in STATED["local_files_only"]:
                continue
            found += 1
            given = {one.arg for one in call.keywords}
            taken = {ast.unparse(one.value) for one in call.keywords if one.arg is None}
            for option, methods in STATED.items():
                stated = option in given or taken & {"options", "_own_code(kind)"}
                assert name not in methods or stated, f"{path}:{call.lineno}: {option}"
    assert found >= 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_text_encoders_have_one_attention(
    kind: str, random_models: dict[str, Path], tmp_path: Path
) -> None:
    model = load_model(find_model(str(random_models[kind])), dtype="float32", device="cpu")
    encoders = [getattr(model, part) for part in model.parts if part != "unet"]
    assert [one.config._attn_implementation for one in encoders] == ["sdpa"] * len(encoders)


@pytest.mark.slow
def test_a_configuration_with_other_attention_changes_no_score(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(find_model("testbed").folder, folder := tmp_path / "model")
    set_json(TEXT_CONFIG, attn_implementation="eager")(folder)
    plain, named = (
        load_model(find_model(name), dtype="float32", device="cpu")
        for name in ("testbed", str(folder))
    )
    assert named.text_encoder.config._attn_implementation == "sdpa"
    captions = ["a red cat", "", "a very long caption " * 30]
    left, right = (one.encode(one.tokenize(captions)).hidden_BLC for one in (plain, named))
    assert torch.equal(left, right)
    assert isinstance(named.text_encoder, CLIPTextModel)
