import json
import shutil
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.models import find_model, load_model
from scanner.scoring import Scorer
from tests.random_pipelines import KINDS
from tests.scoring.test_scorer import assert_same_scores


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, dirs_exist_ok=True)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_schedule_begins_at_981_and_never_clips(random_models, kind: str) -> None:
    model = load_model(str(random_models[kind]))
    assert model.noise_process.timesteps(50)[0] == 981
    assert not model.scheduler.config.clip_sample
    assert not model.scheduler.config.set_alpha_to_one


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheduler",
    [
        {"_class_name": "DDIMScheduler", "clip_sample": True, "set_alpha_to_one": True},
        {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"},
        {"_class_name": "DPMSolverMultistepScheduler", "steps_offset": 0},
    ],
)
def test_the_scheduler_that_a_pipeline_brings_changes_no_score(
    random_models, tmp_path: Path, scheduler: dict
) -> None:
    """The model's own is a PNDMScheduler with the same noise levels."""
    folder = _copy(random_models["sd1"], tmp_path / "other")
    path = folder / "scheduler" / "scheduler_config.json"
    own = json.loads(path.read_text())
    assert own["_class_name"] == "PNDMScheduler"
    path.write_text(json.dumps(own | scheduler))
    scores = [
        Scorer(load_model(str(model)), "trajectory", steps=4).score(["a cat"])
        for model in (random_models["sd1"], folder)
    ]
    assert_same_scores(*scores)


def test_weights_that_are_not_safetensors_are_refused(random_models, tmp_path: Path) -> None:
    folder = _copy(random_models["sd1"], tmp_path / "pickled")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(UserError, match="no safetensors weights in unet"):
        find_model(str(folder))


@pytest.mark.parametrize("name", ["no/such/thing/here", "./nowhere", "just-a-word"])
def test_a_name_that_names_nothing_says_what_it_could_be(name: str) -> None:
    with pytest.raises(UserError, match="neither a directory, a URL, a hub id"):
        find_model(name)


def test_an_uncached_hub_id_is_a_clear_error_offline(monkeypatch) -> None:
    with pytest.raises(UserError, match="cannot be downloaded from the hub"):
        find_model("nobody/no-such-model")


@pytest.mark.slow
def test_a_hub_id_loads_from_the_cache_with_its_revision_pinned(
    random_models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--small"
    _copy(random_models["sd1"], repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    files = find_model("someone/small")
    assert files.spec.revision == revision
    assert load_model(files).weights == find_model(str(random_models["sd1"])).weights_hash()


def test_a_hub_model_is_refused_before_downloading_weights(
    random_models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _copy(random_models["sd1"], tmp_path / "0123456789abcdef")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "FluxPipeline"}))
    asked: list[str] = []

    def download(name: str, allow_patterns: list[str], **_: object) -> str:
        asked.extend(allow_patterns)
        return str(folder)

    monkeypatch.setattr("scanner.models.files.fetching.snapshot_download", download)
    with pytest.raises(UserError, match="FluxPipeline"):
        find_model("someone/large")
    assert asked
    assert not any("safetensors" in pattern for pattern in asked)


def test_a_model_in_object_storage_is_fetched_once(
    random_models, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanner.storage import Store

    monkeypatch.setenv("HOME", str(tmp_path))
    store = Store(f"{s3}/model")
    for path in random_models["sd1"].rglob("*"):
        if path.is_file():
            store.upload(path, str(path.relative_to(random_models["sd1"])))
    files = find_model(f"{s3}/model")
    assert files.weights_hash() == find_model(str(random_models["sd1"])).weights_hash()

    def again(**_: object) -> None:
        raise AssertionError("fetched again")

    monkeypatch.setattr("scanner.storage.inputs.tempfile.TemporaryDirectory", again)
    assert find_model(f"{s3}/model").folder == files.folder


def test_the_hash_changes_with_a_single_weight(random_models, tmp_path: Path) -> None:
    folder = _copy(random_models["sd1"], tmp_path / "changed")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert (
        find_model(str(folder)).weights_hash()
        != find_model(str(random_models["sd1"])).weights_hash()
    )
