"""Name a command's results by a hash of all that they depend on."""

import hashlib
import json
from typing import Any


def identity(about: dict[str, Any]) -> str:
    """Return the name of results: a hash of ``about``, all that they depend on."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
