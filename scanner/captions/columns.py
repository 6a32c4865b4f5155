"""Which columns of a data set hold the caption, the key and the image's name."""

from dataclasses import dataclass

from scanner.captions.records import Quoting
from scanner.errors import UserError

# Names in one group are as good as one another, so that two of them are a question to the user; an
# earlier group wins over a later one. A tar's txt repeats what its json says; a key that a
# downloader numbered, or a hash of the image, is no rival to the data set's own id.
CAPTION_NAMES = (
    ("caption", "text", "top_caption", "prompt", "title", "alt_text", "captions"),
    ("txt",),
)
KEY_NAMES = (("sample_id", "uid", "id"), ("key",), ("hash",))
IMAGE_NAMES = ("url", "image_url", "hash", "sha256", "md5")
KEEP_NAMES = ("url", "image_url")
# What img2dataset writes beside its tars. A status means something else in any other table.
DOWNLOADED = ("key", "url", "status")
NONE = "none"


@dataclass(frozen=True)
class Columns:
    """The chosen columns, as the files name them. ``key`` None: (source, row) is the key.

    ``status``, where img2dataset wrote the file: what became of the download. ``quoting`` and
    ``fallback``: how the file is read (see scanner.captions.batch.Contents).
    """

    caption: str
    key: str | None
    image_key: str | None
    keep: tuple[str, ...]
    status: str | None = None
    quoting: Quoting | None = None
    fallback: str | None = None

    @property
    def names(self) -> list[str]:
        """Every column that has to be read, once."""
        chosen = (self.caption, self.key, self.image_key, *self.keep, self.status)
        wanted = (*chosen, self.fallback)
        return list(dict.fromkeys(name for name in wanted if name))


def resolve(
    have: list[str],
    where: str,
    caption: str | None = None,
    key: str | None = None,
    image_key: str | None = None,
    keep: tuple[str, ...] | None = None,
) -> Columns:
    """Choose columns among ``have``; what the caller names wins over the lists of names in use,
    and ``NONE`` for any but the caption means that there is none.

    Raises UserError, naming the candidates, where there is no choice or more than one.
    """
    if caption is None:
        caption = _only(have, CAPTION_NAMES, where, "caption")
        if caption is None:
            raise UserError(
                f"{where}: no caption column among {', '.join(have) or 'no columns'}; name it "
                "with --caption-column (the first line of a csv or tsv has to name its columns)"
            )
    chosen = Columns(
        caption=_named(have, caption, where),
        key=_chosen(have, key, where) if key else _only(have, KEY_NAMES, where, "key"),
        image_key=_chosen(have, image_key, where) if image_key else _first(have, IMAGE_NAMES),
        keep=tuple(
            _named(have, name, where)
            for name in (keep if keep is not None else filter(None, [_first(have, KEEP_NAMES)]))
            if name != NONE
        ),
        status="status" if set(DOWNLOADED) <= set(have) else None,
    )
    taken = {"caption_id", "source", "row", "key", "image_key", "is_reference"}
    for name in chosen.keep:
        if name.lower() in taken:
            raise UserError(f"--keep {name}: the samples table has a column of that name already")
    return chosen


def _matches(have: list[str], names: tuple[str, ...]) -> list[str]:
    return [column for name in names for column in have if column.lower() == name]


def _only(
    have: list[str], groups: tuple[tuple[str, ...], ...], where: str, what: str
) -> str | None:
    found = next(filter(None, (_matches(have, names) for names in groups)), [])
    if len(found) > 1:
        raise UserError(
            f"{where}: more than one column could be the {what}: {', '.join(found)}; choose one "
            f"with --{what}-column"
        )
    return found[0] if found else None


def _first(have: list[str], names: tuple[str, ...]) -> str | None:
    return next(iter(_matches(have, names)), None)


def _chosen(have: list[str], name: str, where: str) -> str | None:
    return None if name == NONE else _named(have, name, where)


def _named(have: list[str], name: str, where: str) -> str:
    if name in have:
        return name
    alike = [column for column in have if column.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    raise UserError(f"{where}: no column {name!r}; the columns are {', '.join(have)}")
