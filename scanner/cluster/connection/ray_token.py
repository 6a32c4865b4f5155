"""The token that clients of a local Ray need."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
TOKEN_FILE = ".ray/auth_token"


def require_token() -> None:
    """Make a local Ray require its token, whatever the environment says: it listens on the
    machine's address, and runs any code that it is given.

    If the home directory, where Ray keeps the token, is not writable, the token stays in memory.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    if not can_keep_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif not any(os.environ.get(name) for name in TOKEN_VARIABLES):
        _make_private(Path.home() / TOKEN_FILE)
    from ray._raylet import (  # type: ignore[attr-defined]
        AuthenticationTokenLoader,
        Config,
    )

    # Ray read the variables when it was imported, or for an earlier local Ray.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _make_private(token: Path) -> None:
    """Create Ray's token readable by its owner only; Ray itself leaves that to the umask."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    with contextlib.suppress(FileExistsError), open(os.open(token, flags, 0o600), "wb") as file:
        file.write(secrets.token_hex(32).encode())
    with contextlib.suppress(PermissionError):  # another user's, which is readable
        token.chmod(0o600)


def can_keep_token() -> bool:
    """Return whether a token exists, by variable or file, or can be stored at home."""
    if any(os.environ.get(name) for name in TOKEN_VARIABLES):
        return True
    try:
        token = Path.home() / TOKEN_FILE
        return os.access(token, os.R_OK) if token.exists() else _can_write(token.parent)
    except (OSError, RuntimeError):  # RuntimeError: no HOME, and no entry for the user
        return False


def _can_write(folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return True
