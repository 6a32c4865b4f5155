"""The journal of a purge: everything to be put in place once all new parts are written.

It is created after the parts and removed last, so a purge that was killed before it has changed
nothing, and one that was killed after it is finished by any later purge.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ConfigDict

from scanner.errors import UserError
from scanner.run import Run
from scanner.run.directory import PURGE_JOURNAL
from scanner.run.json_files import Count, Counts, FileName
from scanner.run.records import LARGEST_BYTES, decode, encode
from scanner.storage import Store

# Without the journal, a rerun no longer knows what the purge was about to remove.
REMEDY = "restore the run from a copy, or scan into a new run"


@dataclass(frozen=True)
class Journal:
    """``manifest``: number of the newest manifest before; ``files``: texts of commits, plans and
    decisions, by name; ``replaced``: those of ``files`` that exist already; ``images``: files to
    remove; ``strip``: folders of unfinished work to remove, except their images; ``counts``,
    ``outside``, ``lists``: for the result."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    id: str
    manifest: Count
    files: dict[FileName, str]
    replaced: tuple[FileName, ...]
    images: tuple[FileName, ...] = ()
    strip: tuple[FileName, ...] = ()
    counts: Counts = field(default_factory=dict)
    outside: tuple[str, ...] = ()
    lists: dict[str, dict[str, Any]] = field(default_factory=dict)


def pending_journal(store: Store) -> Journal | None:
    """Return the journal of a purge that was not finished, or None. Raises DamagedFile."""
    if not store.exists(PURGE_JOURNAL):
        return None
    data = store.read(PURGE_JOURNAL, LARGEST_BYTES)
    return decode(store.location(PURGE_JOURNAL), data, Journal, REMEDY)


def create_journal(store: Store, journal: Journal) -> Journal:
    """Create the journal, or return that of another purge, which was first.

    Raises UserError if it is too large to be read again.
    """
    data = encode(asdict(journal))
    if len(data) > LARGEST_BYTES:
        raise UserError(
            f"{store.url}: the purge changes too much at once; split the list and purge each part"
        )
    if store.create(PURGE_JOURNAL, data):
        return journal
    return pending_journal(store) or journal


def apply_journal(run: Run, journal: Journal) -> None:
    """Put commits, plans and decisions in place, and seal the run; may be repeated."""
    for name, text in journal.files.items():
        if name in journal.replaced:
            run.store.write(name, text.encode())
        else:
            run.store.create(name, text.encode())
    for number, plan in enumerate(run.plans()):
        run.summarize(plan, number)
    if run.newest_manifest() <= journal.manifest:
        run.seal()
