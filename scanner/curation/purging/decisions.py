"""The decisions of reviewers without those about purged captions."""

from scanner.curation.purging.targets import Targets
from scanner.run.decision_log import DecisionLog
from scanner.run.decisions import Entry
from scanner.storage import Store


def purged_entries(store: Store, targets: Targets) -> tuple[dict[str, str], int]:
    """Return the new texts of the log's entries that name purged captions, by file name, and how
    many statements about captions they lose.

    Merged blocks are parts, which table_commits purges. Blocks that can be merged are merged first,
    which also removes entries that a killed writer left beside their block. Raises DamagedFile.
    """
    log = DecisionLog(store)
    log.compact()
    gone = set(targets.captions.to_pylist())
    files: dict[str, str] = {}
    removed = 0
    for name, entry in log.unmerged():
        new = entry.without(gone)
        if lost := _statements(entry) - _statements(new):
            files[name] = new.to_json().decode()
            removed += lost
    return files, removed


def _statements(entry: Entry) -> int:
    return sum(len(change.captions) for change in entry.changes)
