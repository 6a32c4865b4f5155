"""Kill a call before its n-th change of a store, in this process: real calls, cut off anywhere."""

from collections.abc import Callable
from typing import Any

import pytest

from scanner.storage import Store

CHANGES = ("write", "create", "upload", "remove", "remove_folder")


class Killed(BaseException):
    """Stands for a kill: nothing handles it."""


def count_changes(call: Callable[[], Any], kill: int | None = None) -> int:
    """Make a call, killed before the change of this number; return the number of changes."""
    changes = 0
    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            method = getattr(Store, name)

            def changing(*arguments: Any, method: Any = method, **options: Any) -> Any:
                nonlocal changes
                if changes == kill:
                    raise Killed
                changes += 1
                return method(*arguments, **options)

            patch.setattr(Store, name, changing)
        call()
    return changes
