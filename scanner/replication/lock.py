"""Pin what a replication fetched: hashes and revision, recorded once and checked afterwards."""

from dataclasses import asdict, dataclass, field, replace

from scanner.errors import UserError
from scanner.run.records import decode, encode
from scanner.storage import Store

FILE = "lock.json"
LARGEST_BYTES = 1 << 20
REMEDY = "restore it, or remove it to record what is fetched now"


@dataclass(frozen=True)
class LockedList:
    """A prompt list that was fetched."""

    url: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class LockedModel:
    """Weights that were fetched. ``weights``: hash of everything that affects scores."""

    name: str
    revision: str | None
    weights: str


@dataclass(frozen=True)
class Lock:
    """The files of one replication."""

    lists: dict[str, LockedList] = field(default_factory=dict)
    model: LockedModel | None = None


def read_lock(store: Store) -> Lock:
    """Return the lock of a replication, empty before the first fetch. Raises UserError."""
    if not store.exists(FILE):
        return Lock()
    data = store.read(FILE, LARGEST_BYTES)
    return decode(store.location(FILE), data, Lock, REMEDY, LARGEST_BYTES)


def lock_list(store: Store, name: str, url: str, sha256: str, size: int) -> None:
    """Record a list, or check it against what is recorded. Raises UserError if it changed."""
    lock = read_lock(store)
    known = lock.lists.get(name)
    if known is None:
        locked = LockedList(url, sha256, size)
        _write(store, replace(lock, lists={**lock.lists, name: locked}))
    elif known.sha256 != sha256:
        raise UserError(
            f"{url}: SHA-256 {sha256}, but {store.location(FILE)} records {known.sha256}: the list "
            "has changed since it was first fetched; restore it, or use another --out to replicate "
            "with the new one"
        )


def lock_model(store: Store, name: str, revision: str | None, weights: str) -> None:
    """Record the weights, or check them against what is recorded. Raises UserError if they
    changed."""
    lock = read_lock(store)
    found = LockedModel(name, revision, weights)
    if lock.model is None:
        _write(store, replace(lock, model=found))
        return
    for what, now, before in (
        ("model", found.name, lock.model.name),
        ("revision", found.revision, lock.model.revision),
        ("hash of the weights", found.weights, lock.model.weights),
    ):
        if now != before:
            raise UserError(
                f"{name}: {what} {now}, but {store.location(FILE)} records {before}: the weights "
                "have changed since they were first fetched; restore them, or use another --out "
                "to replicate with the new ones"
            )


def _write(store: Store, lock: Lock) -> None:
    store.write(FILE, encode(asdict(lock)))
