"""Check the name of a model before torch loads, and state what is wrong with a model."""

import re

from scanner.errors import UserError
from scanner.models.files.packaged import PACKAGED
from scanner.storage import local_path

# Of single-file checkpoints.
ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_HUB_ID = re.compile(r"(?!\.)[\w.-]+/[\w.-]+")


def model_error(name: str, problem: str) -> UserError:
    """Return an error about a model; ``problem``: the file or part, what is wrong, the remedy."""
    return UserError(f"model: {name}: {problem}")


def is_hub_id(name: str) -> bool:
    """Return whether a name that is not a local path is one of the hub."""
    return _HUB_ID.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raise UserError for a name that is neither that of a packaged model, an existing local path,
    a URL nor a hub id."""
    if name in PACKAGED or "://" in name or local_path(name).exists():
        return
    if name.lower().endswith(ENDINGS):
        raise model_error(name, "no such file; check the path")
    if not is_hub_id(name):
        raise model_error(
            name,
            "neither a directory, a URL, a hub id (owner/name), a .safetensors file nor "
            f"{' nor '.join(PACKAGED)}",
        )
