"""Select the captions to verify, and the samples that provide their training images."""

from collections.abc import Sequence
from typing import Any

from scanner.captions.caption_list import read_caption_list
from scanner.captions.columns import CAPTION_NAMES
from scanner.captions.identity import caption_id, is_caption_id
from scanner.errors import UserError
from scanner.evidence.verify.config import VerifyConfig
from scanner.evidence.verify.generation import CaptionGroup
from scanner.models import ModelFiles, canonical
from scanner.models.loading import canonical_tokenizer
from scanner.query import RunTables, rank

# Images per group, about one batch: the work that is lost when a process dies.
GROUP_IMAGES = 16
_OF_FILE = """
    SELECT caption_id, caption FROM captions WHERE list_contains($ids, caption_id)
"""
# One sample per distinct image, most common images first.
_SAMPLES = """
    WITH mine AS (
        SELECT *, coalesce(image_key, source || '#' || "row") AS image
        FROM samples WHERE NOT is_reference AND list_contains($ids, caption_id)
    ),
    each_image AS (
        SELECT caption_id, image, count(*) AS n, min_by(mine, (source, "row")) AS one
        FROM mine GROUP BY caption_id, image
    )
    SELECT caption_id, one
    FROM each_image
    QUALIFY row_number() OVER (PARTITION BY caption_id ORDER BY n DESC, image) <= $most
    ORDER BY caption_id, n DESC, image
"""


def choose(config: VerifyConfig, tables: RunTables, files: ModelFiles) -> list[tuple[str, str]]:
    """Return distinct (caption_id, caption) pairs in the order of the ranking or of the file.

    ``files``: of the run's model, whose normalization defines caption ids. Raises UserError.
    """
    if config.captions is None:
        table = rank(tables, config.top, config.by, where=config.where)
        ids = table["caption_id"].to_pylist()
        refuse_other_ids(ids, config.run, "scan again, or get a new copy of the run")
        return list(zip(ids, table["caption"].to_pylist(), strict=True))
    name, values = read_caption_list(
        config.captions, "--captions", ("caption_id", *CAPTION_NAMES[0])
    )
    wanted = dict.fromkeys(values, "")
    if name == "caption_id":
        remedy = f"memscan rank {config.run} --json lists them"
        refuse_other_ids(values, f"--captions {config.captions}", remedy)
    if name != "caption_id":
        tokenizer = canonical_tokenizer(files)
        texts = [(canonical(tokenizer, text), text) for text in values]
        # Among equal captions, keep the first spelling.
        wanted = {caption_id(canon): text for canon, text in reversed(texts) if canon}
        wanted = dict(reversed(wanted.items()))
    known = tables.query(_OF_FILE, {"ids": list(wanted)})
    wanted |= dict(zip(known["caption_id"].to_pylist(), known["caption"].to_pylist(), strict=True))
    missing = [name for name, text in wanted.items() if not text]
    if missing:
        raise UserError(
            f"--captions {config.captions}: {len(missing)} caption ids are not in the run, such as "
            f"{missing[0]!r}; give captions that are not in the run as text"
        )
    return list(wanted.items())


def refuse_other_ids(ids: Sequence[Any], where: str, remedy: str) -> None:
    """Raise UserError for an invalid caption id, since image files are named by them."""
    wrong = next((one for one in ids if not is_caption_id(one)), None)
    if wrong is not None:
        raise UserError(f"{where}: {wrong!r} is not a caption id (32 hex digits); {remedy}")


def grouped(
    tables: RunTables, captions: Sequence[tuple[str, str]], seeds: int, references: int
) -> list[CaptionGroup]:
    """Split captions into groups of about ``GROUP_IMAGES`` images, with samples of their most
    common training images, at most ``references`` per caption."""
    ids = [name for name, _ in captions]
    samples: dict[str, list[dict[str, Any]]] = {}
    for row in tables.query(_SAMPLES, {"ids": ids, "most": references}).to_pylist():
        samples.setdefault(row["caption_id"], []).append(row["one"])
    size = max(1, GROUP_IMAGES // seeds)
    return [
        CaptionGroup(
            f"{start // size:06d}",
            tuple(captions[start : start + size]),
            tuple(tuple(samples.get(name, ())) for name in ids[start : start + size]),
        )
        for start in range(0, len(captions), size)
    ]
