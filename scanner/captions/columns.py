"""Choose the columns of a dataset that contain the caption, the key and the image key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scanner.captions.batch import Contents
from scanner.captions.records import Quoting
from scanner.errors import UserError

# Two matches within a group are ambiguous and the user has to choose; an earlier group wins over a
# later one. A tar's txt repeats its json; a downloader's key or an image hash ranks below the
# dataset's own id.
CAPTION_NAMES = (
    ("caption", "text", "top_caption", "prompt", "title", "alt_text", "captions"),
    ("txt",),
)
KEY_NAMES = (("sample_id", "uid", "id"), ("key",), ("hash",))
IMAGE_NAMES = ("url", "image_url", "hash", "sha256", "md5")
KEEP_NAMES = ("url", "image_url")
# Columns of img2dataset's metadata. In other tables, status means something else.
DOWNLOADED = ("key", "url", "status")
NONE = "none"
# Columns of the samples table.
RESERVED = {"caption_id", "source", "row", "key", "image_key", "is_reference", "caption_column"}


@dataclass(frozen=True)
class Columns:
    """The chosen columns, by their names in the file. ``key`` None: (source, row) is the key.

    ``status``: the download status in files written by img2dataset. ``quoting`` and ``fallback``:
    see :class:`scanner.captions.batch.Contents`. ``more_captions``: further captions of the same
    image.
    """

    caption: str
    key: str | None
    image_key: str | None
    keep: tuple[str, ...]
    status: str | None = None
    quoting: Quoting | None = None
    fallback: str | None = None
    more_captions: tuple[str, ...] = ()

    @property
    def captions(self) -> tuple[str, ...]:
        """All columns with captions."""
        return (self.caption, *self.more_captions)

    @property
    def carried(self) -> list[str]:
        """Columns copied to the samples table, without repeats."""
        return list(dict.fromkeys(filter(None, (self.key, self.image_key, *self.keep))))

    @property
    def names(self) -> list[str]:
        """All columns to read, without repeats."""
        chosen = (*self.captions, self.key, self.image_key, *self.keep, self.status)
        wanted = (*chosen, self.fallback)
        return list(dict.fromkeys(name for name in wanted if name))


@dataclass(frozen=True)
class ColumnOptions:
    """The user's choice of columns; None: find it by name, NONE: do not use one.

    ``more_captions``: further caption columns, each with captions of the same images; a file needs
    only one of all. ``known``: columns that may be absent, since earlier files had them.
    """

    caption: str | None = None
    key: str | None = None
    image_key: str | None = None
    keep: tuple[str, ...] | None = None
    known: frozenset[str] = frozenset()
    more_captions: tuple[str, ...] = ()

    @property
    def captions(self) -> tuple[str, ...]:
        """The named caption columns."""
        return (self.caption, *self.more_captions) if self.caption else ()

    def check(self, files: Mapping[str, Contents]) -> None:
        """Raise UserError for a named column that no file has."""
        if any(file.is_open and not file.is_whole for file in files.values()):
            return
        names = [name for file in files.values() for name in file.columns]
        have = list(dict.fromkeys([*names, *self.known]))
        if not have:
            return  # only bad rows, which are reported as such
        for name in (*self.captions, self.key, self.image_key, *(self.keep or ())):
            if name and name != NONE:
                _named(have, name, next(iter(files)))


def resolve_all(
    files: Mapping[str, Contents], options: ColumnOptions
) -> dict[str, Columns | UserError]:
    """Choose the columns of every file of a dataset; map a file without a caption to its error.

    Files may differ: a key, image key or kept column that one lacks is null there, and among
    several candidates for the caption the one that other files use is chosen. Raises UserError with
    the candidates if no file has a caption column, if the choice remains ambiguous, or if no file
    has a named column.
    """
    if not files:
        return {}
    options.check(files)
    found: dict[str, Columns | UserError] = {}
    for url, file in files.items():
        try:
            found[url] = resolve(file.columns, url, options, file.is_open)
        except UserError as error:
            found[url] = error
    chosen = [one for one in found.values() if isinstance(one, Columns)]
    for url, one in found.items():
        if isinstance(one, AmbiguousColumn):
            found[url] = _disambiguated(files[url], url, options, chosen, one)
        elif files[url].is_open and chosen and isinstance(one, UserError):
            # The first rows have no caption; later ones may.
            first = chosen[0]
            known = replace(options, caption=first.caption, more_captions=first.more_captions)
            found[url] = resolve(files[url].columns, url, known, is_open=True)
    if not any(isinstance(one, Columns) for one in found.values()):
        raise next(one for one in found.values() if isinstance(one, UserError))
    return found


def _disambiguated(
    file: Contents,
    url: str,
    options: ColumnOptions,
    chosen: Sequence[Columns],
    doubt: "AmbiguousColumn",
) -> Columns:
    """Choose among several candidates in a file by the choices of the other files."""
    while True:
        others = {getattr(one, doubt.what) for one in chosen}
        alike = [name for name in doubt.candidates if name in others]
        if len(alike) != 1:
            raise doubt
        if doubt.what == "caption":
            options = replace(options, caption=alike[0])
        else:
            options = replace(options, key=alike[0])
        try:
            return resolve(file.columns, url, options, file.is_open)
        except AmbiguousColumn as error:
            doubt = error


class AmbiguousColumn(UserError):
    """Several columns could be the ``what`` (caption or key)."""

    def __init__(self, where: str, what: str, candidates: list[str]) -> None:
        super().__init__(
            f"{where}: more than one column could be the {what}: {', '.join(candidates)}; choose "
            f"one with --{what}-column"
        )
        self.what = what
        self.candidates = candidates


def resolve(
    have: Sequence[str], where: str, options: ColumnOptions | None = None, is_open: bool = False
) -> Columns:
    """Choose the columns of one file, by the user's options first, then by common names.

    ``is_open``: later rows may have other columns. Raises UserError if the caption column is
    missing, AmbiguousColumn if there are several candidates.
    """
    options = options or ColumnOptions()
    named = [found for name in options.captions if (found := _present(have, name, is_open))]
    if options.caption:
        caption = named[0] if named else _named(have, options.caption, where)
    elif found := _only(have, CAPTION_NAMES, where, "caption"):
        caption = found
    else:
        raise UserError(
            f"{where}: no caption column among {', '.join(have) or 'no columns'}; name it "
            "with --caption-column (the first line of a csv or tsv has to name its columns)"
        )
    keep = options.keep
    if keep is None:
        keep = tuple(filter(None, [_first(have, KEEP_NAMES)]))
    kept = tuple(filter(None, (_present(have, name, is_open) for name in keep)))
    for name in kept:
        if name.lower() in RESERVED:
            raise UserError(f"--keep {name}: the samples table already has a column of that name")
    key, image_key = options.key, options.image_key
    return Columns(
        caption=caption,
        key=_present(have, key, is_open) if key else _only(have, KEY_NAMES, where, "key"),
        image_key=(_present(have, image_key, is_open) if image_key else _first(have, IMAGE_NAMES)),
        keep=kept,
        status="status" if set(DOWNLOADED) <= set(have) else None,
        more_captions=tuple(name for name in dict.fromkeys(named) if name != caption),
    )


def _matches(have: Sequence[str], names: tuple[str, ...]) -> list[str]:
    return [column for name in names for column in have if column.lower() == name]


def _only(
    have: Sequence[str], groups: tuple[tuple[str, ...], ...], where: str, what: str
) -> str | None:
    found = next(filter(None, (_matches(have, names) for names in groups)), [])
    if len(found) > 1:
        raise AmbiguousColumn(where, what, found)
    return found[0] if found else None


def _first(have: Sequence[str], names: tuple[str, ...]) -> str | None:
    return next(iter(_matches(have, names)), None)


def _present(have: Sequence[str], name: str, is_open: bool) -> str | None:
    """Return a named column in the file's spelling; None if absent."""
    if name == NONE:
        return None
    alike = [column for column in have if column.lower() == name.lower()]
    if name in have or (is_open and not alike):
        return name
    return alike[0] if len(alike) == 1 else None


def _named(have: Sequence[str], name: str, where: str) -> str:
    if name in have:
        return name
    alike = [column for column in have if column.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    raise UserError(f"{where}: no column {name!r}; the columns are {', '.join(have)}")
