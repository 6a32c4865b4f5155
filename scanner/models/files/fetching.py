"""Fetch a model's files to this machine from a directory, a store or the hub."""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download

from scanner.errors import UserError
from scanner.models.files.names import check_name, is_hub_id, model_error
from scanner.models.files.packaged import PACKAGED
from scanner.models.files.weights import VARIANT, expected_files, plain_files
from scanner.storage import fetch, is_transient, local_path, mark_transient, retry_outages
from scanner.storage.node_lock import node_lock
from scanner.storage.outages import RETRY_SECONDS

log = logging.getLogger("memscan.models")

CONFIGURATION = ("*/*.json", "*/*.txt", "tokenizer*/*.model", "model_index.json")
OTHER_WEIGHTS = ("*non_ema*",)
OTHER_FORMATS = ("*.bin", "*.msgpack", "*.onnx*", "*.ckpt", "*.pt")
VARIANTS = (f"*.{VARIANT}.*", f"*.{VARIANT}-*", *OTHER_WEIGHTS)


def cache_folder() -> Path:
    """Return the folder of copies from stores, and of the locks of downloads."""
    return Path.home() / ".cache" / "memscan" / "models"


def local_copy(name: str) -> Path | None:
    """Return a local path, or the local copy of a URL; None if the name is neither."""
    if "://" in name:
        return fetch(name, cache_folder())
    path = local_path(name)
    return path if path.exists() else None


def fetch_configuration(
    name: str, revision: str | None = None, retry_seconds: float = RETRY_SECONDS
) -> tuple[Path, str | None]:
    """Return a model's directory, and its revision if it is from the hub (then without weights).

    ``name``: one of PACKAGED, a local directory, a URL of one, or a hub id. ``retry_seconds``: how
    long an outage of the hub is waited for. Raises UserError if it is unavailable.
    """
    if name in PACKAGED:
        return PACKAGED[name], None
    folder = local_copy(name)
    if folder and folder.is_dir():
        return folder, None
    if folder:
        raise model_error(
            name,
            "a file where the directory of a diffusers model is expected; name the directory, or "
            "a single-file checkpoint that ends in .safetensors",
        )
    check_name(name)
    folder = _download(name, revision, CONFIGURATION, retry_seconds=retry_seconds)
    return folder, folder.name


def configuration_here(name: str, revision: str | None = None) -> Path:
    """Return the directory of a model that is on this machine, without fetching anything.

    For names in a run, which is untrusted. Raises UserError for a URL, and for a hub model that has
    not been downloaded.
    """
    if "://" in name:
        raise model_error(name, "a URL from a run, which is not fetched")
    if name in PACKAGED or Path(name).expanduser().exists():
        return fetch_configuration(name)[0]
    if not is_hub_id(name):
        raise model_error(name, "not on this machine")
    return _download(name, revision, CONFIGURATION, local_files_only=True)


def fetch_weights(
    name: str,
    folder: Path,
    revision: str | None,
    parts: Mapping[str, type[Any]],
    retry_seconds: float = RETRY_SECONDS,
) -> None:
    """Download the weights that a hub model's directory lacks; do nothing for other models.

    ``parts``: classes by name. Of a part whose only weights are the variant fp16, downloads these.
    Uses no network if nothing is missing: offline, it would wait long. Processes of a node that
    call it together download once. Raises UserError if the hub is unavailable.
    """
    if revision is None:
        return

    def lacking(files_of: Callable[[str, Path, type[Any]], list[Path]]) -> list[str]:
        return [
            part
            for part, kind in parts.items()
            if not all(path.exists() for path in files_of(name, folder / part, kind))
        ]

    def download(patterns: Iterable[str], ignored: Iterable[str]) -> None:
        _download(name, revision, patterns, ignored, retry_seconds=retry_seconds)

    if missing := lacking(plain_files):
        download([f"{part}/*.safetensors" for part in missing], VARIANTS)
    if missing := lacking(expected_files):
        download([f"{part}/*.{VARIANT}*" for part in missing], (*OTHER_WEIGHTS, *OTHER_FORMATS))
    if lacking(expected_files):
        _refuse_outage(name, revision, retry_seconds)


def _download(
    name: str,
    revision: str | None,
    patterns: Iterable[str],
    ignored: Iterable[str] = VARIANTS,
    local_files_only: bool = False,
    retry_seconds: float = RETRY_SECONDS,
) -> Path:
    download = partial(
        snapshot_download,
        name,
        revision=revision,
        allow_patterns=list(patterns),
        ignore_patterns=list(ignored),
        local_files_only=local_files_only,
    )
    try:
        if local_files_only:
            return Path(download())
        with node_lock(cache_folder() / "locks", f"{name}@{revision}"):
            return Path(retry_outages(download, retry_seconds)())
    except Exception as error:
        if isinstance(error, OSError) or is_transient(error):
            raise _unavailable(name, error) from error
        raise


def _refuse_outage(name: str, revision: str, retry_seconds: float) -> None:
    """Raise UserError if files are missing because the hub, which has them, does not answer.

    The hub's client then returns what it has instead of an error.
    """
    try:
        retry_outages(HfApi().repo_info, retry_seconds)(name, revision=revision)
    except Exception as error:
        if is_transient(error):
            raise _unavailable(name, error) from error
        # The hub answers, so it lacks the files: opening the model names them.
        log.debug(f"{name}: files are missing, and the hub answered {type(error).__name__}")


def _unavailable(name: str, error: Exception) -> UserError:
    """Return the error of a failed download, marked as transient if it is an outage."""
    first = next(iter(str(error).splitlines()), type(error).__name__)
    failure = model_error(
        name,
        f"cannot be downloaded from the hub: {first}; check the name, the network and, for "
        "gated models, the token; a directory or URL in the diffusers layout, a .safetensors "
        "checkpoint and testbed do not need the hub",
    )
    if is_transient(error):
        mark_transient(failure)
    return failure
