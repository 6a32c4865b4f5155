"""Find a model by its name, check that it is one we can score, load it from safetensors."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import CLIPTextModel, CLIPTokenizer

from scanner.errors import UserError
from scanner.models.stable_diffusion import StableDiffusion, score_scheduler
from scanner.storage import fetch_directory

TESTBED = Path(__file__).parents[1] / "testbed" / "model"
SUPPORTED = ("StableDiffusionPipeline",)
PARTS = ("unet", "text_encoder")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class ModelFiles:
    """A model on this machine: where, which revision, and what its pipeline is."""

    name: str
    folder: Path
    revision: str | None
    pipeline: str

    def weights_hash(self) -> str:
        """SHA-256 over everything that decides a score: weights, tokenizer, configurations."""
        digest = hashlib.sha256()
        for part in (*PARTS, "tokenizer", "scheduler"):
            for path in sorted((self.folder / part).iterdir()):
                if path.suffix in (".safetensors", ".json", ".txt"):
                    digest.update(f"{part}/{path.name}\n".encode())
                    with path.open("rb") as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def find_model(name: str, revision: str | None = None) -> ModelFiles:
    """Bring a model's files here and check them.

    ``name``: ``testbed``, a local directory, a URL of one in a store, or a hub id such as
    ``CompVis/stable-diffusion-v1-4``. Raises UserError where it cannot be had or is of a class
    that is not supported; the message lists those that are.
    """
    folder, revision = _folder(name, revision)
    index = folder / "model_index.json"
    if not index.exists():
        raise UserError(f"{name}: no diffusers model here (model_index.json is missing)")
    pipeline = json.loads(index.read_text())["_class_name"]
    if pipeline not in SUPPORTED:
        raise UserError(
            f"{name}: a {pipeline} cannot be scanned; supported are {', '.join(SUPPORTED)} "
            "(Stable Diffusion 1 and 2)"
        )
    for part in PARTS:
        if not list((folder / part).glob("*.safetensors")):
            raise UserError(
                f"{name}: no safetensors weights in {part}/; weights in other formats are not "
                "loaded, since they can run code; convert them with diffusers' "
                "save_pretrained(safe_serialization=True)"
            )
    unet = json.loads((folder / "unet" / "config.json").read_text())
    if unet["in_channels"] != unet["out_channels"]:
        raise UserError(f"{name}: an inpainting or image-editing U-Net cannot be scanned")
    return ModelFiles(name, folder, revision, pipeline)


def _folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    if name == "testbed":
        return TESTBED, None
    if "://" in name:
        cache = Path.home() / ".cache" / "memscan" / "models"
        return fetch_directory(name, cache), None
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser(), None
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise UserError(f"{name}: neither a directory, a URL, a hub id (owner/name) nor testbed")
    wanted = [f"{part}/*{end}" for part in PARTS for end in (".json", ".safetensors")]
    wanted += ["model_index.json", "vae/config.json", "tokenizer/*", "scheduler/*.json"]
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=wanted,
            ignore_patterns=["*.fp16.*", "*non_ema*"],
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{name}: not to be had from the hub: {str(error).splitlines()[0]}; check the name, "
            "the network and, for gated models, the token"
        ) from error
    return Path(folder), Path(folder).name


def load_tokenizer(files: ModelFiles) -> CLIPTokenizer:
    """The tokenizer alone, which planning needs."""
    return CLIPTokenizer.from_pretrained(files.folder / "tokenizer")


def load_model(
    name: str | ModelFiles,
    revision: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    weights: str | None = None,
) -> StableDiffusion:
    """Load a model for scoring.

    ``device``: ``cuda`` where there is one by default, else ``cpu``; ``dtype``: float16 on cuda
    and float32 on cpu by default. ``weights``: the hash of the files, if it is known already.
    """
    files = find_model(name, revision) if isinstance(name, str) else name
    device = choose_device(device)
    torch_dtype = DTYPES[choose_dtype(dtype, device)]
    options = {"use_safetensors": True, "dtype": torch_dtype}
    unet = UNet2DConditionModel.from_pretrained(files.folder, subfolder="unet", **options)
    text = CLIPTextModel.from_pretrained(
        files.folder / "text_encoder", use_safetensors=True, dtype=torch_dtype
    )
    vae = _config(files, "vae")
    return StableDiffusion(
        unet=unet.to(device),
        text_encoder=text.to(device),
        tokenizer=load_tokenizer(files),
        scheduler=score_scheduler(_config(files, "scheduler")),
        weights=weights or files.weights_hash(),
        pixels_per_latent=2 ** (len(vae["block_out_channels"]) - 1),
    )


def choose_device(device: str | None) -> str:
    """``auto`` and None mean the first accelerator, or the CPU."""
    if device in (None, "auto"):
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(device)


def choose_dtype(dtype: str | None, device: str) -> str:
    """``auto`` and None mean float16 on an accelerator and float32 on the CPU."""
    if dtype in (None, "auto"):
        return "float32" if device == "cpu" else "float16"
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype}: one of {', '.join(DTYPES)}")
    return str(dtype)


def _config(files: ModelFiles, part: str) -> dict[str, Any]:
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    return json.loads((files.folder / part / name).read_text())
