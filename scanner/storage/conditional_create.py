"""Create a file of a store only if it is absent: what each back end's refusals mean.

fsspec's ``mode="create"`` sends S3 ``If-None-Match: *``, Google Cloud Storage
``ifGenerationMatch=0`` and Azure ``If-None-Match: *`` (no overwrite).
"""

import errno
import random
import time
from enum import Enum
from typing import Any

from scanner.errors import UserError
from scanner.storage.urls import is_azure, is_gcs, is_s3, url_of

CONFLICT_RETRIES = 8
# Stores whose "create" is a check by the client, or that hold nothing that another process sees.
_NEVER = ("http", "https", "hf", "memory")
_AZURE_EXISTS = {"BlobAlreadyExists", "ResourceAlreadyExists", "ConditionNotMet", ""}


class Refusal(Enum):
    """Why a conditional write was refused: the file exists, or another write of it is under way."""

    EXISTS = "exists"
    CONFLICT = "conflict"


def may_be_conditional(fs: Any) -> bool:
    """Return whether a store may know conditional writes; only racing writers prove it."""
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return not set(_NEVER) & set(protocols)


def create_if_absent(fs: Any, path: str, data: bytes, single_writer: bool) -> bool:
    """Write a file of a store only if absent; return False if it exists.

    ``single_writer``: a store of another kind, whose conditions nobody has proved, is asked first
    whether the file exists. Raises UserError if a store has no conditional writes otherwise, or
    keeps reporting conflicts.
    """
    is_known = is_s3(fs) or is_gcs(fs) or is_azure(fs)
    if single_writer and not is_known and fs.exists(path):
        return False
    for attempt in range(CONFLICT_RETRIES):
        try:
            fs.pipe_file(path, data, mode="create")
            return True
        except (TypeError, ValueError, NotImplementedError) as error:
            if is_known:
                raise
            if not single_writer:
                raise UserError(
                    f"{url_of(fs, path)}: this store cannot create a file only if it is absent "
                    f"({type(error).__name__}: {error}); use another store, or pass "
                    "--single-writer and make sure that only one scan writes here"
                ) from error
            fs.pipe_file(path, data)
            return True
        except OSError as error:
            refusal = refusal_of(fs, error)
            if refusal is None:
                raise
        if refusal is Refusal.EXISTS:
            return False
        time.sleep(0.05 * 2**attempt * random.uniform(0.5, 1))
    raise UserError(
        f"{path}: the store keeps reporting a conflicting write; rerun the same command"
    )


def refusal_of(fs: Any, error: OSError) -> Refusal | None:
    """Return what a failed conditional write means; None if it failed for another reason."""
    if is_s3(fs):
        return _of_s3(error)
    if not isinstance(error, FileExistsError):
        return None
    return _of_azure(error) if is_azure(fs) else Refusal.EXISTS


def _of_s3(error: OSError) -> Refusal | None:
    code = _s3_code(error)
    if code in ("PreconditionFailed", "412"):
        return Refusal.EXISTS
    return Refusal.CONFLICT if code in ("ConditionalRequestConflict", "409") else None


def _s3_code(error: OSError) -> str:
    """Return the S3 error code behind an s3fs exception, which maps several codes to one errno."""
    if isinstance(error, FileExistsError) or error.errno == errno.EEXIST:
        return "PreconditionFailed"
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        seen = seen.__cause__
    return ""


def _of_azure(error: FileExistsError) -> Refusal:
    """Azure answers 409 if the blob exists, but also while another operation holds it."""
    code = getattr(error, "azure_code", "")
    return Refusal.EXISTS if code in _AZURE_EXISTS else Refusal.CONFLICT
