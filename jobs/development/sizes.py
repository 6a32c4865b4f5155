"""List the sizes of the wheel, the sdist, an installation and the image, and what takes them.

The wheel and the sdist are built in a temporary directory. The installation is this environment:
of its packages, those that memscan needs. The image installs the wheels of infra/requirements.lock,
which has no sizes: --lock names the same in TOML, which has them. The uv command at the top of the
lock makes it, with --constraint infra/requirements.lock, --format pylock.toml instead of
--generate-hashes, and --output-file pylock.toml.

Example: python -m jobs.development.sizes
"""

import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import Distribution, distributions
from pathlib import Path

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from jobs.console.terminal import command, show
from scanner.errors import UserError

ROOT = Path(__file__).parents[2]
PACKAGE = "memorization-scanner"
# What the wheel holds, in the order in which patterns are tried.
CONTENT = {
    "scanner/testbed/model/*": "Stable Diffusion of the demo and `--model testbed`",
    "scanner/testbed/model_dit/*": "transformer of `--model testbed-dit`",
    "scanner/testbed/data/*": "training set and labels of both, scanned by the demo",
    "scanner/testbed/calibration*.json": "their calibrations (`--calibration testbed`)",
    "scanner/query/sql/*": "the named queries and their page",
    "*.py": "the code",
    "*.dist-info/*": "metadata, with README.md and the license",
    "*": "templates, scripts and styles of pages; default files",
}
LISTED = 15


@dataclass(frozen=True)
class SizesConfig:
    """The lock with the sizes of the image's packages."""

    lock: Path | None = None
    """Lock file in TOML (PEP 751) with sizes; without it, the image is left out."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(SizesConfig, "jobs.development.sizes", __doc__, _sizes, arguments)


def _sizes(config: SizesConfig) -> int:
    with tempfile.TemporaryDirectory(prefix="memscan-sizes-") as folder:
        wheel, sdist = build(ROOT, Path(folder))
        archives = [_described(archive) for archive in (wheel, sdist)]
        show(_table(("file", "content", "size"), archives))
        rows = [
            (what, str(files), _megabytes(size)) for what, (files, size) in content(wheel).items()
        ]
        show(_table(("in the wheel", "files", "size"), rows))
    installed = installation()
    show(_table((f"installed, {len(installed)} packages", "size"), _largest(installed)))
    if config.lock:
        wheels = locked_sizes(config.lock.read_text(encoding="utf-8"))
        show(_table((f"image, {len(wheels)} wheels", "size"), _largest(wheels)))
    return 0


def build(root: Path, folder: Path) -> tuple[Path, Path]:
    """Build the wheel and the sdist of a tree, and return their paths."""
    (wheel,) = WheelBuilder(str(root)).build(directory=str(folder), versions=["standard"])
    (sdist,) = SdistBuilder(str(root)).build(directory=str(folder), versions=["standard"])
    return Path(wheel), Path(sdist)


def content(wheel: Path) -> dict[str, tuple[int, int]]:
    """Return what a wheel holds: per kind of content, the number of files and compressed bytes."""
    sizes = dict.fromkeys(CONTENT, (0, 0))
    with zipfile.ZipFile(wheel) as archive:
        for file in archive.infolist():
            kind = next(pattern for pattern in CONTENT if fnmatch(file.filename, pattern))
            files, size = sizes[kind]
            sizes[kind] = files + 1, size + file.compress_size
    return {f"`{pattern}`: {CONTENT[pattern]}": counted for pattern, counted in sizes.items()}


def installation() -> dict[str, int]:
    """Return the bytes on disk of memscan's dependencies in this environment, by package."""
    found = {canonicalize_name(each.name): each for each in distributions()}
    needed, pending = {PACKAGE}, [PACKAGE]
    while pending:
        for line in found[canonicalize_name(pending.pop())].requires or ():
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and name in found and name not in needed:
                needed.add(name)
                pending.append(name)
    return {name: _on_disk(found[canonicalize_name(name)]) for name in needed - {PACKAGE}}


def _on_disk(package: Distribution) -> int:
    paths = [Path(str(package.locate_file(file))) for file in package.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file())


def locked_sizes(lock: str) -> dict[str, int]:
    """Return the bytes of the wheels that the image installs, by package, from a lock in TOML.

    Raises UserError for a package without a wheel for the image, or without its size.
    """
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)]
    platforms += [
        "manylinux2014_x86_64",
        "manylinux2010_x86_64",
        "manylinux1_x86_64",
        "linux_x86_64",
    ]
    tags = [
        *cpython_tags((3, 12), platforms=platforms),
        *compatible_tags((3, 12), "cp312", platforms),
    ]
    ranks = {tag: rank for rank, tag in reversed(list(enumerate(tags)))}
    sizes = {}
    for package in tomllib.loads(lock)["packages"]:
        fitting = []
        for wheel in package.get("wheels", ()):
            name = wheel.get("name") or wheel["url"].rpartition("/")[2]
            own = [ranks[tag] for tag in parse_wheel_filename(name)[3] if tag in ranks]
            fitting += [(min(own), wheel.get("size"))] if own else []
        _, size = min(fitting, key=lambda each: each[0], default=(None, None))
        if size is None:
            raise UserError(
                f"{package['name']}: no wheel for the image, or without size, in the lock"
            )
        sizes[package["name"]] = size
    return sizes


def _described(archive: Path) -> tuple[str, str, str]:
    """Return an archive's name, what it holds, and its size."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            members = [member.file_size for member in wheel.infolist()]
    else:
        with tarfile.open(archive) as sdist:
            members = [member.size for member in sdist.getmembers()]
    about = f"{len(members)} files, {_megabytes(sum(members))} unpacked"
    return f"`{archive.name}`", about, _megabytes(archive.stat().st_size)


def _largest(sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the largest packages, then all others, then the sum."""
    ordered = sorted(sizes.items(), key=lambda item: -item[1])
    others = sum(size for _, size in ordered[LISTED:])
    rows = [(f"`{name}`", size) for name, size in ordered[:LISTED]]
    rows += [(f"{len(ordered[LISTED:])} others", others), ("all", sum(sizes.values()))]
    return [(name, _megabytes(size)) for name, size in rows]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), ""])


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB" if size < 1e7 else f"{size / 1e6:,.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
