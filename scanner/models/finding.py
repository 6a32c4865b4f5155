"""Find a model by its name, and check that it is one that can be scored."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from scanner.errors import UserError
from scanner.models.diffusion_model import DiffusionModel
from scanner.models.families import FAMILIES, refuse_configuration, refuse_pipeline
from scanner.storage import fetch_directory

TESTBED = Path(__file__).parents[1] / "testbed" / "model"
CONFIGURATION = ("*/*.json", "*/*.txt", "model_index.json")


@dataclass(frozen=True)
class ModelFiles:
    """A model on this machine: where, which revision, and what its pipeline is."""

    name: str
    folder: Path
    revision: str | None
    pipeline: str

    @property
    def family(self) -> type[DiffusionModel]:
        return FAMILIES[self.pipeline]

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part of the pipeline."""
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        return json.loads((self.folder / part / name).read_text())

    @property
    def settings(self) -> dict[str, Any]:
        """The entries of model_index.json that decide a score."""
        index = json.loads((self.folder / "model_index.json").read_text())
        return {name: index.get(name, own) for name, own in self.family.settings.items()}

    def weights_hash(self) -> str:
        """SHA-256 over everything that decides a score: weights, tokenizers, configurations."""
        digest = hashlib.sha256()
        for part in (*self.family.parts, *self.family.tokenizers, "scheduler"):
            for path in sorted((self.folder / part).iterdir()):
                if path.suffix in (".safetensors", ".json", ".txt"):
                    _digest(digest, f"{part}/{path.name}", path)
        for name, value in self.settings.items():
            digest.update(f"{name} {json.dumps(value)}\n".encode())
        return digest.hexdigest()


def _digest(digest: Any, name: str, path: Path) -> None:
    digest.update(f"{name}\n".encode())
    with path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())


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
    files = ModelFiles(name, folder, revision, _pipeline(name, index))
    for part in files.family.parts:
        if not list((folder / part).glob("*.safetensors")):
            raise UserError(
                f"{name}: no safetensors weights in {part}/; weights in other formats are not "
                "loaded, since they can run code; convert them with diffusers' "
                "save_pretrained(safe_serialization=True)"
            )
    refuse_configuration(name, files.config("unet"), files.config("scheduler"))
    return files


def _pipeline(name: str, index: Path) -> str:
    contents = json.loads(index.read_text())
    refuse_pipeline(name, contents)
    return contents["_class_name"]


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
    configuration = _download(name, revision, list(CONFIGURATION))
    # Before the weights: those of a model that is refused can be large.
    index = configuration / "model_index.json"
    parts = FAMILIES[_pipeline(name, index)].parts if index.exists() else {}
    revision = configuration.name
    return _download(name, revision, [f"{part}/*.safetensors" for part in parts]), revision


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=patterns,
            ignore_patterns=["*.fp16.*", "*non_ema*"],
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{name}: not to be had from the hub: {str(error).splitlines()[0]}; check the name, "
            "the network and, for gated models, the token"
        ) from error
    return Path(folder)
