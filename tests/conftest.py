"""Small models of the real classes, a real S3 server process, data sets of a few rows."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from filelock import FileLock
from playwright.sync_api import Browser, sync_playwright
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from scanner.testbed.files import MODEL
from tests.memscan import memscan
from tests.servers import bucket_server, point_to
from tests.whole_scans import SCAN, write_captions

CHROMIUM = "/usr/bin/chromium"
KINDS = ("sd1", "sd2", "sdxl")
Once = Callable[[str, Callable[[Path], None]], Path]
LAYERS = {"sd1": 16, "sd2": 16, "sdxl": 28}
# Files that take longest come first, lest one of pytest's processes wait for them at the end.
LONGEST = (
    *("test_tutorial.py", "scan/test_scan.py", "scan/test_cascade.py"),
    *(
        "faults/test_random_kills.py",
        "evidence/verify/test_verify.py",
        "cluster/test_dispatcher.py",
    ),
    *("faults/test_damaged_runs.py", "scoring/test_trajectory.py", "models/test_families.py"),
    *("jobs/test_explain.py", "infra/test_guide.py", "scan/test_planning_in_stages.py"),
    *("models/test_lora.py", "evidence/explain/test_page.py", "curation/test_testbed.py"),
    *("infra/test_bucket.py",),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


def make_random_pipeline(kind: str) -> DiffusionPipeline:
    """A pipeline of a family: its real classes and layer order, small, with random weights."""
    torch.manual_seed(0)
    return _make_xl() if kind == "sdxl" else _make_sd(kind)


def _make_sd(kind: str) -> StableDiffusionPipeline:
    tokenizer = _tokenizer("!" if kind == "sd2" else None)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32, 32),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=32,
        attention_head_dim=2 if kind == "sd1" else [2, 4, 4, 4],
        use_linear_projection=kind == "sd2",
        norm_num_groups=8,
    )
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    options = {**noise, "set_alpha_to_one": False, "steps_offset": 1}
    if kind == "sd1":
        scheduler = PNDMScheduler(**options, skip_prk_steps=True)
    else:
        scheduler = DDIMScheduler(**options, clip_sample=False, prediction_type="v_prediction")
    return StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_text(tokenizer, 32, "quick_gelu" if kind == "sd1" else "gelu")),
        tokenizer=tokenizer,
        unet=_sharpened(unet),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _make_xl() -> StableDiffusionXLPipeline:
    """SDXL's blocks with 1, 2 and 3 transformer blocks an attention (1, 2 and 10 in SDXL)."""
    tokenizer, second = _tokenizer(), _tokenizer("!")
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 3),
        cross_attention_dim=32 + 48,
        attention_head_dim=[2, 2, 4],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
        norm_num_groups=8,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_text(tokenizer, 32, "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(_text(second, 48, "gelu", projection_dim=24)),
        tokenizer=tokenizer,
        tokenizer_2=second,
        unet=_sharpened(unet),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    )


def _tokenizer(padding: str | None = None) -> CLIPTokenizer:
    tokenizer = CLIPTokenizer.from_pretrained(MODEL / "tokenizer")
    if padding:
        tokenizer.pad_token = padding
    return tokenizer


def _text(tokenizer: CLIPTokenizer, width: int, act: str, **options: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        hidden_act=act,
        **options,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )


@torch.no_grad()
def _sharpened(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """At random start, attention is almost uniform; larger weights make it differ by position."""
    for name, weight in unet.named_parameters():
        if "attn2.to_q" in name or "attn2.to_k" in name:
            weight *= 4
    return unet


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of saved random pipelines, by kind."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, folder in folders.items():
        make_random_pipeline(kind).save_pretrained(folder)
    return folders


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A folder of a name, which the first of pytest's processes to want it makes for all."""
    here = tmp_path_factory.getbasetemp()
    shared = here.parent if "PYTEST_XDIST_WORKER" in os.environ else here

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        with FileLock(shared / f"{name}.lock"):
            if not (shared / name / "made").exists():
                shutil.rmtree(shared / name, ignore_errors=True)
                (shared / name).mkdir()
                make(shared / name)
                (shared / name / "made").touch()
        return shared / name

    return folder


@pytest.fixture(scope="session")
def demo(once: Once) -> Path:
    """What memscan demo leaves, in the folder ``demo``, and what it printed, in ``printed``."""

    def make(folder: Path) -> None:
        done = memscan("demo", "--out", "demo", folder=folder)
        (folder / "printed").write_text(done.stdout)

    return once("demo", make)


@pytest.fixture(scope="session")
def testbed_run(demo: Path) -> str:
    """The demo's scan: the testbed's whole training set, held-out captions too."""
    return str(demo / "demo" / "run-standard")


@pytest.fixture(scope="session")
def data(once: Once) -> Path:
    """400 distinct captions in 3,000 rows of csv."""
    name = "captions.csv"
    folder = once("data", lambda folder: write_captions(folder / name, rows=3000, distinct=400))
    return folder / name


@pytest.fixture(scope="session")
def undisturbed(once: Once, data: Path) -> str:
    """A sealed run of ``data`` that nothing disturbed: what the disturbed ones must equal."""

    def make(folder: Path) -> None:
        memscan(*SCAN, "--captions", str(data), "--out", str(folder / "run"))

    return str(once("undisturbed", make) / "run")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not shutil.which(CHROMIUM):
        pytest.skip(f"no {CHROMIUM}: install Debian's package chromium to look at pages")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=120_000
        )
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket on a real S3 server process; the environment points s3fs to it."""
    server = bucket_server(tmp_path_factory.mktemp("s3"))
    with pytest.MonkeyPatch.context() as environ:
        point_to(server.port, environ)
        yield "s3://bucket"
    server.kill()
