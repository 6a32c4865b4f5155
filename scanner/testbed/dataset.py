"""Build the testbed's data set: Noto emoji with captions, in the layout of a LAION shard.

Every caption belongs to one of five groups, drawn before training and independently of the
caption's style, name and category, so only training makes the groups differ:

=========  =========================================================================
memorized  one caption, one image, the same row many times
template   several captions of one style for one image (a family), each a few times
repeated   one caption as often as a memorized one, each time with another image
once       one caption, one image, one row
heldout    caption and image never trained on (the null set)
=========  =========================================================================

Only images without a near-duplicate (RMSE to every other image > ``NEAR_COPY``) get a group;
otherwise "its own image is the nearest" would be meaningless. The others fill ``repeated``.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

PIXELS = 32
NEAR_COPY = 0.12
SEED = 20
REPEATS = (40, 60, 90)
FAMILY_CAPTIONS = 5
FAMILY_REPEATS = (8, 12, 18)
SIZES = {"memorized": 72, "repeated": 72, "template": 12, "heldout": 520}

STYLES = (
    "{name} icon in {adjective} flat style by {maker}",
    "a small {adjective} picture of the {name} on a white {thing}",
    "{Name} Sticker by {Maker} - {Subcategory} Collection",
    "vector drawing of {name}, {subcategory}, {adjective} edition {number}",
    "{Name} Clip Art | {Category} No. {number}",
    "hand drawn {name} for {thing} printing, {adjective} colours",
    "the {adjective} {name} emoji as seen on a {thing}",
    "{Name} ({Subcategory}) {Adjective} {Thing} Print",
    "{maker} presents {name}, {category} sign, set of {number}",
    "download the {adjective} {name} png for your {thing}",
)
# fmt: off
ADJECTIVES = (
    "bright", "quiet", "vintage", "modern", "gentle", "bold", "plain", "cheerful", "glossy",
    "minimal", "classic", "playful", "elegant", "rustic", "tiny", "colourful", "simple", "retro",
    "soft", "lively",
)
MAKERS = (
    "anna frost", "blue pencil", "studio nine", "marco lane", "little press", "red kite",
    "paper moon", "olga winter", "seven hills", "north design", "happy pixel", "ines costa",
    "oak and ink", "kumo works", "felix brand", "sun art",
)
THINGS = (
    "poster", "mug", "notebook", "phone", "shirt", "card", "blanket", "pillow", "calendar",
    "magnet", "badge", "banner", "bag", "canvas",
)
# fmt: on


@dataclass(frozen=True)
class Emoji:
    """An image: file name, RGB pixels on white, name, category and subcategory."""

    file: str
    pixels: np.ndarray
    name: str
    category: str
    subcategory: str

    @property
    def url(self) -> str:
        return f"https://emoji.example/noto/{self.file}"

    def png(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


@dataclass(frozen=True)
class _Grouped:
    """A caption with its group, family number, number of rows and image."""

    caption: str
    group: str
    family: int | None
    rows: int
    item: Emoji


def read_emoji(package: Path) -> list[Emoji]:
    """Read all base emoji and skin-tone variants of an unpacked ``emoji-datasource-google``
    package."""
    emoji = []
    for entry in json.loads((package / "emoji.json").read_text(encoding="utf-8")):
        name = (entry["name"] or entry["short_name"].replace("_", " ")).lower().replace("-", " ")
        words = (entry["category"].lower(), entry["subcategory"].replace("-", " "))
        for item in (entry, *entry.get("skin_variations", {}).values()):
            if item.get("has_img_google"):
                pixels = _pixels(package / "img" / "google" / "64" / item["image"])
                emoji.append(Emoji(item["image"], pixels, name, *words))
    return emoji


def _pixels(path: Path) -> np.ndarray:
    picture = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return np.asarray(white.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.LANCZOS))


def nearest_other(images: np.ndarray) -> np.ndarray:
    """Return for N images in [0, 255] the RMSE (of values in [0, 1]) to the nearest other: (N,)."""
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    squares = (flat**2).sum(1)
    squared = squares[:, None] + squares[None] - 2 * flat @ flat.T
    np.fill_diagonal(squared, np.inf)
    return np.sqrt(np.maximum(squared.min(1), 0) / flat.shape[1])


def _caption(style: str, emoji: Emoji, random: np.random.Generator) -> str:
    words = {
        "name": emoji.name,
        "category": emoji.category,
        "subcategory": emoji.subcategory,
        "adjective": str(random.choice(ADJECTIVES)),
        "maker": str(random.choice(MAKERS)),
        "thing": str(random.choice(THINGS)),
    }
    words |= {key.title(): text.title() for key, text in words.items()}
    return style.format(**words, number=int(random.integers(2, 100)))


def build(package: Path, out: Path) -> None:
    """Write ``train.parquet``, ``heldout.parquet`` and ``groups.parquet`` to ``out``."""
    random = np.random.default_rng(SEED)
    emoji = read_emoji(package)
    distance = nearest_other(np.stack([item.pixels for item in emoji]))
    seen: set[str] = set()
    candidates: list[Emoji] = []
    fillers: list[Emoji] = []
    for item, gap in zip(emoji, distance, strict=True):
        (candidates if gap > NEAR_COPY and item.name not in seen else fillers).append(item)
        seen.add(item.name)
    order = iter([candidates[i] for i in random.permutation(len(candidates))])

    groups: list[_Grouped] = []
    captions: set[str] = set()

    def add(group: str, item: Emoji, style: str, repeats: int, family: int | None = None) -> None:
        caption = _caption(style, item, random)
        while caption.lower() in captions:
            caption = _caption(style, item, random)
        captions.add(caption.lower())
        groups.append(_Grouped(caption, group, family, repeats, item))

    for group, size in SIZES.items():
        for number in range(size):
            item, style = next(order), str(random.choice(STYLES))
            if group == "template":
                repeats = int(random.choice(FAMILY_REPEATS))
                for _ in range(FAMILY_CAPTIONS):
                    add(group, item, style, repeats, number)
            else:
                repeats = 0 if group == "heldout" else int(random.choice(REPEATS))
                add(group, item, style, repeats)
    for item in order:
        add("once", item, str(random.choice(STYLES)), 1)

    pool = [one.item for one in groups if one.group == "once"] + fillers
    rows: list[tuple[str, Emoji]] = []
    for one in groups:
        if one.group == "repeated":
            chosen = random.choice(len(pool), one.rows, replace=False)
            rows += [(one.caption, pool[i]) for i in chosen]
        else:
            rows += [(one.caption, one.item)] * one.rows
    rows = [rows[i] for i in random.permutation(len(rows))]
    heldout = [(one.caption, one.item) for one in groups if one.group == "heldout"]

    out.mkdir(parents=True, exist_ok=True)
    _write_rows(rows, out / "train.parquet", prefix="t")
    _write_rows(heldout, out / "heldout.parquet", prefix="h")
    table = pa.table(
        {
            "caption": [one.caption for one in groups],
            "group": [one.group for one in groups],
            "family": pa.array([one.family for one in groups], pa.int32()),
            "rows": pa.array([one.rows for one in groups], pa.int32()),
        }
    )
    pq.write_table(table, out / "groups.parquet", compression="zstd")


def _write_rows(rows: list[tuple[str, Emoji]], path: Path, prefix: str) -> None:
    items = {item.file: item for _, item in rows}
    png = {file: item.png() for file, item in items.items()}
    table = pa.table(
        {
            "key": [f"{prefix}{number:08d}" for number in range(len(rows))],
            "caption": [caption for caption, _ in rows],
            "url": [item.url for _, item in rows],
            "width": pa.array([PIXELS] * len(rows), pa.int32()),
            "height": pa.array([PIXELS] * len(rows), pa.int32()),
            "image": pa.array([png[item.file] for _, item in rows], pa.binary()),
        }
    )
    # One dictionary for the whole file stores each image once, however often its row repeats.
    pq.write_table(
        table, path, compression="zstd", dictionary_pagesize_limit=1 << 26, row_group_size=1 << 20
    )
