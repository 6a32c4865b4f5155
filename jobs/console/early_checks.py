"""Check what options name before the libraries load, which takes seconds.

Each is checked again when it is read. Other files in a store are checked only then; a run is looked
up at once.
"""

import os
from collections.abc import Iterable

from scanner.errors import UserError
from scanner.models.files.packaged import PACKAGED
from scanner.storage import local_path


def check_run(url: str) -> None:
    """Raise UserError if there is no run."""
    from scanner.run import Run

    Run.existing(url)


def check_model(name: str | None) -> None:
    """Raise UserError for a name that cannot be a model's; None: no model is named."""
    from scanner.models.files.names import check_name

    if name:
        check_name(name)


def check_calibration(name: str | None) -> None:
    """Raise UserError if the local file of a calibration does not exist."""
    check_files("--calibration", [None if name in PACKAGED else name])


def check_labels(name: str | None) -> None:
    """Raise UserError if the local file of labels does not exist."""
    check_files("--labels", [None if name in ("verdicts", "decisions") else name])


def check_policy(name: str) -> None:
    """Raise UserError if the local file of a policy does not exist."""
    check_files("--policy", [None if name == "default" else name])


def check_writable(flag: str, name: str) -> None:
    """Raise UserError if a local directory can neither be written nor made; a store is tried only
    once the libraries are loaded."""
    if not name or "://" in name:
        return
    path = local_path(name).absolute()
    nearest = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not nearest.is_dir():
        raise UserError(f"{flag} {name}: {nearest} is not a directory; name another location")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {name}: {nearest} cannot be written; name another location")


def check_files(flag: str, names: Iterable[str | None]) -> None:
    """Raise UserError for a local file or directory that does not exist; None: none is named."""
    for name in filter(None, names):
        if "://" not in name and not local_path(name).exists():
            raise UserError(
                f"{flag} {name}: cannot be read: no such file or directory; check the path"
            )
