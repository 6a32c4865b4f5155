"""Whether the scores of a sealed run are still as they were written."""

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scanner.errors import UserError
from scanner.run.directory import Run

log = logging.getLogger("memscan.status")

BLOCK_BYTES = 1 << 20
# They mostly wait for the store or the disk; hashing lets other threads run.
THREADS = 8


def damaged_scores(run: Run) -> list[str]:
    """Return the files of scores that are missing or have another SHA-256 than the newest manifest
    says; reads all of them. Raises UserError if the run is not sealed."""
    manifest = run.manifest()
    if manifest is None:
        raise UserError(
            f"{run.store.url}: --checksums: the run is not sealed; finish the scan first"
        )
    parts = manifest["scores"]
    log.info(f"files of scores to read: {len(parts):,}")

    def is_damaged(part: dict[str, Any]) -> bool:
        digest = hashlib.sha256()
        try:
            with run.store.open(part["path"]) as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
        except FileNotFoundError:
            return True
        return digest.hexdigest() != part["sha256"]

    with ThreadPoolExecutor(THREADS) as pool:
        damaged = list(pool.map(is_damaged, parts))
    return [part["path"] for part, bad in zip(parts, damaged, strict=True) if bad]
