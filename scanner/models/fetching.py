"""Fetch a model's files to this machine from a directory, a store or the hub."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from scanner.models.opening import model_error
from scanner.models.weights import expected_files
from scanner.storage import fetch, local_path

TESTBED = Path(__file__).parents[1] / "testbed" / "model"
CONFIGURATION = ("*/*.json", "*/*.txt", "model_index.json")
_HUB_ID = re.compile(r"(?!\.)[\w.-]+/[\w.-]+")
VARIANTS = ("*.fp16.*", "*non_ema*")


def local_copy(name: str) -> Path | None:
    """Return a local path, or the local copy of a URL; None if the name is neither."""
    if "://" in name:
        return fetch(name, Path.home() / ".cache" / "memscan" / "models")
    path = local_path(name)
    return path if path.exists() else None


def fetch_configuration(name: str, revision: str | None = None) -> tuple[Path, str | None]:
    """Return a model's directory, and its revision if it is from the hub (then without weights).

    ``name``: ``testbed``, a local directory, a URL of one, or a hub id. Raises UserError if it is
    unavailable.
    """
    if name == "testbed":
        return TESTBED, None
    folder = local_copy(name)
    if folder and folder.is_dir():
        return folder, None
    if folder:
        raise model_error(
            name,
            "a file where the directory of a diffusers model is expected; name the directory, or "
            "a single-file checkpoint that ends in .safetensors",
        )
    if not _HUB_ID.fullmatch(name):
        raise model_error(
            name,
            "neither a directory, a URL, a hub id (owner/name), a .safetensors file nor testbed",
        )
    folder = _download(name, revision, CONFIGURATION)
    return folder, folder.name


def configuration_here(name: str, revision: str | None = None) -> Path:
    """Return the directory of a model that is on this machine, without fetching anything.

    For names in a run, which is untrusted. Raises UserError for a URL, and for a hub model that has
    not been downloaded.
    """
    if "://" in name:
        raise model_error(name, "a URL from a run, which is not fetched")
    if name == "testbed" or Path(name).expanduser().exists():
        return fetch_configuration(name)[0]
    if not _HUB_ID.fullmatch(name):
        raise model_error(name, "not on this machine")
    return _download(name, revision, CONFIGURATION, local_files_only=True)


def fetch_weights(
    name: str, folder: Path, revision: str | None, parts: Mapping[str, type[Any]]
) -> None:
    """Download the weights that a hub model's directory lacks; do nothing for other models.

    ``parts``: classes by name. Uses no network if nothing is missing: offline, it would wait long.
    """
    if revision is None:
        return
    lacking = [
        part
        for part, kind in parts.items()
        if not all(path.exists() for path in expected_files(name, folder / part, kind))
    ]
    if lacking:
        _download(name, revision, [f"{part}/*.safetensors" for part in lacking])


def _download(
    name: str, revision: str | None, patterns: Iterable[str], local_files_only: bool = False
) -> Path:
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(VARIANTS),
            local_files_only=local_files_only,
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise model_error(
            name,
            f"cannot be downloaded from the hub: {first}; check the name, the network and, for "
            "gated models, the token; a directory or URL in the diffusers layout, a .safetensors "
            "checkpoint and testbed do not need the hub",
        ) from error
    return Path(folder)
