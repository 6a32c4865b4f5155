"""Remove what a purge has replaced, and what no reader needs: all of it may name what is purged."""

from collections.abc import Iterable

from scanner.curation.purging.commits import COMMITTED, TABLES
from scanner.curation.purging.journal import Journal
from scanner.run import Commits, Run
from scanner.run.compaction import KINDS
from scanner.run.directory import PURGE_JOURNAL
from scanner.run.progress import read_progress
from scanner.run.records import commit_name, encode
from scanner.storage import Store

# Folders whose files a manifest lists.
LISTED = ("samples", "captions", "rejects", "scores", *KINDS.values())
# Progress of planning (with spellings of captions, after a kill), of checks, and notes for people.
UNNEEDED = ("planning", "checks", "quarantine", "logs", "preflight")
IMAGES = "images"
# Of a verification: the nearest images of an index, as a search committed them.
SEARCHES = "sources"


def remove_leftovers(run: Run, journal: Journal) -> None:
    """Remove old parts, commits and manifests, unfinished work and images; may be repeated.

    Parts that no manifest or commit names are removed too: killed writers left them. The journal
    goes last.
    """
    manifest = run.manifest() or {}
    store = run.store
    listed = {*manifest["samples"], *manifest["captions"], *manifest["rejects"]}
    listed |= {part["path"] for part in manifest["scores"]}
    for folder in LISTED:
        _remove_parts(store, folder, listed)
    for commits in (run.commits, run.compaction):
        _remove_old_commits(commits)
    for folder in COMMITTED:
        commits = Commits(store, f"{folder}/commits")
        _remove_old_commits(commits)
        named = {part.path for commit in commits.all() for part in commit.parts}
        places = {name.rpartition("/")[0] for name in named if name.startswith(f"{folder}/")}
        for place in places | {f"{folder}/tables", f"{folder}/parts"}:
            _remove_parts(store, place, named)
    _remove(store, run.manifest_names()[:-1])
    _remove(store, journal.images)
    for folder in journal.strip:
        _strip(store, folder)
    for place in (place for folder in TABLES for place in store.folders(folder)):
        store.remove_folder(f"{place}/{SEARCHES}")
    for folder in UNNEEDED:
        store.remove_folder(folder)
    _forget_events(run)
    store.remove_unfinished(older_than=0.0)
    store.remove(PURGE_JOURNAL)


def _remove_old_commits(commits: Commits) -> None:
    old = {
        commit_name(commits.folder, name, generation)
        for name, newest in commits.done().items()
        for generation in range(newest)
    }
    names = commits.store.names(commits.folder)
    _remove(commits.store, (name for name in names if name in old))


def unfinished_work(store: Store, changed: Iterable[str]) -> list[str]:
    """Return the folders of unfinished work: of changed commits (folder/name), and of none."""
    touched = set(changed)
    found = []
    for folder in TABLES:
        done = Commits(store, f"{folder}/commits").done()
        for place in store.folders(folder):
            name = place.rpartition("/")[2]
            if name in ("commits", "tables"):
                continue
            if name not in done or place in touched:
                found.append(place)
    return found


def _strip(store: Store, folder: str) -> None:
    """Remove a folder's files and folders, except its images."""
    _remove(store, store.names(folder))
    for place in store.folders(folder):
        if not place.endswith(f"/{IMAGES}"):
            store.remove_folder(place)


def _forget_events(run: Run) -> None:
    """Empty the events in progress.json, which may quote captions."""
    state = read_progress(run)
    if state:
        run.store.write("progress.json", encode({**state, "events": []}))


def _remove_parts(store: Store, folder: str, named: set[str]) -> None:
    names = (name for name in store.names(folder) if name.endswith(".parquet"))
    _remove(store, (name for name in names if name not in named))


def _remove(store: Store, names: Iterable[str]) -> None:
    for name in list(names):
        store.remove(name, missing_ok=True)  # an earlier call was faster
