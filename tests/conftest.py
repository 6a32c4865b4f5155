"""Small models of the real classes, a real S3 server process, data sets of a few rows."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from scanner.testbed.files import MODEL

os.environ.setdefault("HF_HUB_OFFLINE", "1")
KINDS = ("sd1", "sd2")


def make_random_pipeline(kind: str) -> StableDiffusionPipeline:
    """A pipeline of the SD1 or SD2 kind: real classes, all 16 cross-attentions, random weights."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(MODEL / "tokenizer")
    if kind == "sd2":
        tokenizer.pad_token = "!"
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
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.bos_token_id,
            hidden_act="quick_gelu" if kind == "sd1" else "gelu",
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon" if kind == "sd1" else "v_prediction",
    )
    # At random start, attention is almost uniform; larger weights make it differ by position.
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if "attn2.to_q" in name or "attn2.to_k" in name:
                weight *= 4
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of saved random pipelines, by kind."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, folder in folders.items():
        make_random_pipeline(kind).save_pretrained(folder)
    return folders


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket on a real S3 server process; the environment points s3fs to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    server = subprocess.Popen([*SERVER, "--port", str(port), str(folder)])
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    yield "s3://bucket"
    server.terminate()
    server.wait()


SERVER = [sys.executable, "-m", "localbucket"]
