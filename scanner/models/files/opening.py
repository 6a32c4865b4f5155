"""Open a model's files, turning any damage into a one-line error with a remedy."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from scanner.errors import UserError
from scanner.memory import is_out_of_memory
from scanner.models.files.names import model_error
from scanner.storage import is_transient

POINTER = b"version https://git-lfs"
AGAIN = "download or save the model again"


@contextmanager
def opening(name: str, place: str, remedy: str = AGAIN) -> Iterator[None]:
    """Turn any library error caused by a damaged file into one UserError.

    ``place``: the file or part being opened. Errors of memory, the device and the network pass
    unchanged, since they say nothing about the file.
    """
    try:
        yield
    except (UserError, torch.AcceleratorError):
        raise
    except PermissionError as error:
        file = f" ({error.filename})" if error.filename else ""
        raise model_error(
            name, f"{place}: permission denied{file}; grant this user read access"
        ) from error
    except Exception as error:
        if is_out_of_memory(error) or is_transient(error):
            raise
        raise model_error(name, f"{place}: {_reason(error)}; {remedy}") from error


def read_json(name: str, path: Path, place: str) -> dict[str, Any]:
    """Return the object in a model's JSON file. Raises UserError for anything else."""
    refuse_pointer(name, path, place)
    with opening(name, place):
        value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise model_error(name, f"{place}: not a JSON object but {_shown(value)}; {AGAIN}")
    return value


def refuse_pointer(name: str, path: Path, place: str) -> None:
    """Raise UserError for a git-LFS pointer or an unreadable file."""
    with opening(name, place), path.open("rb") as file:
        is_pointer = file.read(len(POINTER)) == POINTER
    if is_pointer:
        raise model_error(
            name,
            f"{place}: a git-LFS pointer, not the file itself; run git lfs pull in the model's "
            "directory, or download the model again",
        )


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, IsADirectoryError):
        return "a directory where a file is expected"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror.lower()})"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error})"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    first = next(iter(str(error).splitlines()), "")
    return f"cannot be loaded ({type(error).__name__}: {first})"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
