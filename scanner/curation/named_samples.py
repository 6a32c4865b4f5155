"""Samples that somebody else's lists name (opt-outs, takedowns): removed before any rule applies.

The keys and URLs of the lists are compared exactly with those of the samples, except that uids (32
hex digits) match in any case.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from scanner.captions.identity import caption_id, normalize_like_clip
from scanner.curation.key_hashes import UID
from scanner.curation.name_lists import ENTRIES, NameList, read_names
from scanner.curation.narrowed_samples import samples_without
from scanner.curation.removals import columns_in_list
from scanner.curation.row_captions import SAME_IMAGE
from scanner.errors import UsageError
from scanner.plurals import pluralize
from scanner.query import RunTables, identifier
from scanner.storage import bare_name

URL_COLUMNS = ("url", "image_url", "image_key")
SHOWN = 3
PROBED, PROBED_LETTERS = 1000, 1000
_COUNTS = ("entries", "samples", "same_image", "unmatched", "unusable")
SHOWN_LETTERS = 100
_REASON = re.compile(r"([A-Za-z0-9_.-]+)=(.+)", re.DOTALL)
# of_text, of_clip: the ids of a caption given as text, as it is and as CLIP's tokenizers read it.
_IDS = [pa.field("of_text", pa.string()), pa.field("of_clip", pa.string())]
_SCHEMA = pa.schema([pa.field("list", pa.int32()), pa.field("entry", pa.int64()), *ENTRIES, *_IDS])


def comparable(key: str) -> str:
    """Return SQL for a key as keys are compared: uids in lower case."""
    return f"CASE WHEN regexp_full_match({key}, '{UID}') THEN lower({key}) ELSE {key} END"


# A rejected row has no image or URL, but a copy of the data may keep it.
_BY_KEY = f"""
    SELECT list, entry, source, "row" FROM (
        SELECT source, "row", key FROM samples WHERE is_reference <= $references
        UNION ALL SELECT source, "row", key FROM rejects WHERE stage = 'plan' AND "row" IS NOT NULL
    ) AS rows JOIN list_entries ON {comparable("rows.key")} = {comparable("list_entries.key")}"""
_BY_URL = """
    SELECT list, entry, source, "row"
    FROM samples JOIN list_entries ON samples.{0} = list_entries.url
    WHERE is_reference <= $references"""
# By id, or as text: as spelled in the table of captions, or by the id of the text or of what CLIP's
# tokenizers make of it. A scan with --limit has samples of captions that are not in the table.
_BY_CAPTION = """
    SELECT list, entry, source, "row" FROM samples JOIN (
        SELECT list, entry, caption AS caption_id FROM list_entries WHERE caption IS NOT NULL
        UNION SELECT list, entry, of_text FROM list_entries WHERE of_text IS NOT NULL
        UNION SELECT list, entry, of_clip FROM list_entries WHERE of_clip IS NOT NULL
        UNION SELECT list, entry, texts.caption_id FROM texts JOIN list_entries
            ON texts.caption = list_entries.caption
    ) USING (caption_id)
    WHERE is_reference <= $references"""
_ROWS = """
    SELECT source, "row", list($reasons[list] ORDER BY list) AS reasons
    FROM (SELECT DISTINCT list, source, "row" FROM list_pairs) GROUP BY ALL"""
_TAKEN = f"""
    WITH images AS (
        SELECT image_key, list_sort(list_distinct(flatten(list(reasons)))) AS reasons
        FROM samples JOIN list_rows USING (source, "row")
        WHERE is_reference <= $references AND image_key IS NOT NULL GROUP BY image_key
    )
    SELECT samples.*, reasons FROM samples JOIN list_rows USING (source, "row")
    WHERE is_reference <= $references
    UNION ALL
    SELECT samples.*, reasons || ['{SAME_IMAGE}'] AS reasons
    FROM samples JOIN images USING (image_key) ANTI JOIN list_rows USING (source, "row")
    WHERE is_reference <= $references"""
_REPORT = f"""
    SELECT entries.*, coalesce(samples, 0) AS samples, coalesce(same_image, 0) AS same_image
    FROM (
        SELECT list, count(*) AS entries,
               count(*) FILTER (coalesce(key, url, caption) IS NULL) AS unusable,
               count(*) FILTER (coalesce(key, url, caption) IS NOT NULL AND pairs.entry IS NULL)
                   AS unmatched,
               (list(coalesce(key, url, caption) ORDER BY entry) FILTER (pairs.entry IS NULL
                   AND coalesce(key, url, caption) IS NOT NULL))[:{SHOWN}] AS first_unmatched
        FROM list_entries LEFT JOIN (SELECT DISTINCT list, entry FROM list_pairs) AS pairs
            USING (list, entry)
        GROUP BY list
    ) AS entries LEFT JOIN (
        SELECT list_position($reasons, reasons[1]) AS list,
               count(*) FILTER (reasons[-1] <> '{SAME_IMAGE}') AS samples,
               count(*) FILTER (reasons[-1] = '{SAME_IMAGE}') AS same_image
        FROM taken GROUP BY ALL
    ) USING (list) ORDER BY list"""


@dataclass(frozen=True)
class ListEffect:
    """What one list removes.

    ``samples``: named by it, and by no list before it; ``same_image``: other samples that show
    their images. ``unmatched``: entries that name no sample of the run; ``unusable``: entries
    without a key or URL that can be read.
    """

    url: str
    entries: int
    samples: int
    same_image: int
    unmatched: int
    unusable: int
    first_unmatched: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self, reason: str) -> str:
        text = (
            f"list {reason} ({self.url}, {self.entries:,} entries): removes "
            f"{pluralize(self.samples, 'sample')} that it names"
        )
        if self.same_image:
            text += f" and {self.same_image:,} of the same images"
        if self.unmatched:
            shown = ", ".join(name[:SHOWN_LETTERS] for name in self.first_unmatched)
            text += f"; {self.unmatched:,} of its entries match nothing, such as {shown}"
        if self.unusable:
            text += f"; {self.unusable:,} of its entries name nothing"
        return text


def parse_lists(given: Sequence[str]) -> list[NameList]:
    """Return the lists of ``--list [REASON=]FILE``; the reason is the file's name by default.

    Raises UsageError if two lists have the same reason.
    """
    lists: list[NameList] = []
    for text in given:
        match = _REASON.fullmatch(text)
        url = match[2] if match else text
        stem = PurePosixPath(bare_name(url)).stem
        reason = match[1] if match else re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-") or "list"
        if any(one.reason == reason for one in lists):
            raise UsageError(
                f"--list {text}: another list has the reason {reason}; name one as REASON=FILE"
            )
        lists.append(NameList(reason, url))
    return lists


def match_lists(tables: RunTables, lists: Sequence[NameList], references: bool = False) -> None:
    """Read the lists and match them with the samples: tables list_entries, list_pairs, list_rows.

    Call before the image key is chosen: URLs are also compared with the key as scanned.
    ``references``: match reference captions' samples too. Raises UserError if a list cannot be
    read.
    """
    errors: list[Exception] = []
    batches = _numbered(lists, _is_like_clip(tables), errors)
    tables.add_table("list_entries", pa.RecordBatchReader.from_batches(_SCHEMA, batches))
    if errors:
        raise errors[0]
    columns = tables.query("FROM samples LIMIT 0").column_names
    urls = [identifier(name) for name in columns if name.lower() in URL_COLUMNS]
    pairs = " UNION ALL ".join([_BY_KEY, _BY_CAPTION, *(_BY_URL.format(name) for name in urls)])
    scope = {"references": references}
    tables.create_table("list_pairs", f"SELECT DISTINCT * FROM ({pairs})", scope)
    tables.create_table("list_rows", _ROWS, {"reasons": [one.reason for one in lists]})


def _is_like_clip(tables: RunTables) -> bool:
    """Return whether the run's captions are normalized as CLIP's tokenizers do, by the first ones:
    other families keep them as they are."""
    short = f"length(caption) < {PROBED_LETTERS}"
    sql = f"SELECT caption, canonical FROM texts WHERE {short} LIMIT {PROBED}"
    rows = tables.query(sql).to_pylist()
    return all(normalize_like_clip(row["caption"]) == row["canonical"] for row in rows)


def _numbered(
    lists: Sequence[NameList], is_like_clip: bool, errors: list[Exception]
) -> Iterator[pa.RecordBatch]:
    """Yield the entries, numbered; ends at an error, which DuckDB would hide in its own."""
    try:
        for number, one in enumerate(lists, 1):
            entry = 0
            for batch in read_names(one.url):
                count = len(batch)
                places = pa.array(range(entry, entry + count), pa.int64())
                numbers = pa.repeat(pa.scalar(number, pa.int32()), count)
                columns = [
                    numbers,
                    places,
                    *batch.columns,
                    *_ids_of(batch["caption"], is_like_clip),
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)
                entry += count
    except Exception as error:
        errors.append(error)


def _ids_of(captions: pa.StringArray, is_like_clip: bool) -> list[pa.Array]:
    """Return the ids of captions given as text: as it is, and if ``is_like_clip`` as CLIP's
    tokenizers read it."""
    texts = captions.to_pylist()
    of_text = [None if text is None else caption_id(text) for text in texts]
    of_clip = [None if text is None else caption_id(normalize_like_clip(text)) for text in texts]
    if not is_like_clip:
        of_clip = [None] * len(texts)
    return [pa.array(ids, pa.string()) for ids in (of_text, of_clip)]


def take_listed(tables: RunTables, references: bool = False) -> None:
    """Create the table taken: the samples that lists name, and others of their images."""
    tables.create_table("taken", _TAKEN, {"references": references})


@contextmanager
def without_listed(tables: RunTables) -> Iterator[None]:
    """Leave the samples that lists name, and others of their images, out of the view samples; they
    are in the table taken."""
    take_listed(tables)
    with samples_without(tables, "taken", 'source, "row"'):
        yield


def taken_rows(tables: RunTables, keeps_rejects: bool) -> str:
    """Return SQL for the rows of the table listed that lists remove.

    ``keeps_rejects``: the policy keeps rows that planning rejected, so that those named are listed.
    """
    sql = f"SELECT {columns_in_list(tables, 'taken')}, reasons, 'drop' AS action FROM taken"
    if keeps_rejects:
        sql += """ UNION ALL BY NAME
            SELECT rejected.*, reasons, 'drop' AS action
            FROM rejected JOIN list_rows USING (source, "row")"""
    return sql


def list_effects(tables: RunTables, lists: Sequence[NameList]) -> dict[str, ListEffect]:
    """Return the effect of each list, by its reason."""
    rows = tables.query(_REPORT, {"reasons": [one.reason for one in lists]}).to_pylist()
    by_list = {row.pop("list"): row for row in rows}
    effects = {}
    for number, one in enumerate(lists, 1):
        row = by_list.get(number, {})
        counts = {name: row.get(name, 0) for name in _COUNTS}
        shown = tuple(row.get("first_unmatched") or ())
        effects[one.reason] = ListEffect(one.url, **counts, first_unmatched=shown)
    return effects
