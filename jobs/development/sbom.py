"""Write a software bill of materials of the image, from its lock file.

CycloneDX 1.6, as JSON, with one component per locked package. The output depends only on the lock
file and on the package's version.

Example: python -m jobs.development.sbom --out sbom.json
"""

import hashlib
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.console.terminal import command

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "infra/requirements.lock"
_PACKAGE = re.compile(r"([a-z0-9][a-z0-9.-]*)==(\S+)((?: --hash=sha256:[0-9a-f]{64})+)")


@dataclass(frozen=True)
class SbomConfig:
    """The lock file to read, and the file to write."""

    lock: Path = LOCK
    """Lock file in pip's format, with hashes."""
    out: Path = Path("sbom.json")
    """JSON file to write."""


def locked(text: str) -> dict[str, tuple[str, list[str]]]:
    """Return the version and the SHA-256 hashes of each package of a lock file.

    Raises ValueError for a line that is not a package at one version with hashes.
    """
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    packages = {}
    for line in joined.splitlines():
        if line.startswith("#") or not line:
            continue
        found = _PACKAGE.fullmatch(line)
        if not found:
            raise ValueError(f"not a version with hashes: {line[:100]}")
        name, version, hashes = found.groups()
        packages[name] = version, re.findall(r"sha256:([0-9a-f]{64})", hashes)
    return packages


def bill_of_materials(lock: str, project: dict[str, Any]) -> dict[str, Any]:
    """Return the bill of materials; ``project``: the table of that name in pyproject.toml."""
    name, version = project["name"], project["version"]
    digest = hashlib.sha256(f"{name} {version}\n{lock}".encode()).hexdigest()
    components = [
        {
            "type": "library",
            "bom-ref": _purl(package, locked_version),
            "name": package,
            "version": locked_version,
            "purl": _purl(package, locked_version),
            # One per file of the release: its wheels for other platforms too.
            "externalReferences": [
                {
                    "type": "distribution",
                    "url": _purl(package, locked_version),
                    "hashes": [{"alg": "SHA-256", "content": content} for content in hashes],
                }
            ],
        }
        for package, (locked_version, hashes) in locked(lock).items()
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(digest[:32], version=4)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": _purl(name, version),
                "name": name,
                "version": version,
                "purl": _purl(name, version),
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": components,
    }


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def main(arguments: Sequence[str] | None = None) -> int:
    return command(SbomConfig, "jobs.development.sbom", __doc__, _sbom, arguments)


def _sbom(config: SbomConfig) -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bill = bill_of_materials(config.lock.read_text(encoding="utf-8"), project)
    config.out.write_text(f"{json.dumps(bill, indent=1)}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
