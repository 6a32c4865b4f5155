"""Write a synthetic sealed run of any size, in the format of a standard scan, to time queries.

Captions are words of a synthetic vocabulary, drawn by Zipf's law; three in ten follow one of a few
thousand templates, some of which score high. List columns that no query reads are omitted.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner.models.traits import UNET
from scanner.run import Run
from scanner.run.records import encode
from scanner.run.schema import CAPTION_ID, CAPTIONS, column, samples_schema, write_part
from scanner.scoring.catalog import SIGNALS
from scanner.scoring.profiles import PROFILES
from scanner.scoring.text import CONTROL_FIELDS
from scanner.scoring.triggers import TRIGGER_FIELD
from scanner.storage import Store

log = logging.getLogger("memscan")

PARTS = 100
SAMPLE_FILES = 20
WORDS = 30_000
TEMPLATES = 3_000
LONGEST = 14
REFERENCE_EVERY = 500
STOP_WORDS = ("the", "a", "of", "in", "and", "with", "for", "on", "by", "to", "at", "from")
FIELDS = [SIGNALS[name].documented_field for name in PROFILES["standard"].signals_of(UNET)]
SCORES = pa.schema(
    [
        CAPTION_ID,
        *(one for one in FIELDS if pa.types.is_floating(one.type)),
        TRIGGER_FIELD,
        *CONTROL_FIELDS,
        column("seeds", pa.int32(), "how many initial noises were averaged"),
        column("truncated", pa.bool_(), "the caption is longer than the model reads"),
    ]
)


def synthetic_run(folder: Path, scores: int) -> str:
    """Return the location of a run with that many scores; create it if it does not exist."""
    location = folder / f"run-{scores}"
    store = Store(str(location))
    if not store.names("") or "manifest-0001.json" not in store.names(""):
        log.info(f"writing a run of {scores:,} scores to {location}")
        _write(store, scores)
    return str(location)


def _write(store: Store, scores: int) -> None:
    Run(store).begin({"inputs": {}, "fingerprint": {"id": "made up"}})
    words = _vocabulary()
    manifest: dict[str, Any] = {
        "fingerprint": "made up",
        "samples": _write_samples(store, scores),
        "captions": [],
        "scores": [],
        "rejects": [],
        "reject_reasons": {},
        "quarantined": [],
        "counts": {},
    }
    for part in range(PARTS):
        rows = np.arange(part * scores // PARTS, (part + 1) * scores // PARTS)
        synthetic = _captions(rows, words, np.random.default_rng(part))
        ids = _ids(rows, scores)
        captions = pa.table(
            [ids, synthetic.text, synthetic.text, synthetic.reference], schema=CAPTIONS
        )
        name = f"{part:04d}"
        manifest["captions"].append(write_part(store, "captions", name, captions).path)
        written = write_part(store, "scores", name, _scores(ids, synthetic, part))
        manifest["scores"].append(
            {"path": written.path, "rows": written.rows, "sha256": written.sha256}
        )
    store.create("manifest-0001.json", encode(manifest))


def _vocabulary() -> pa.Array:
    """Return pronounceable words, most frequent first."""
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bdfgklmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er")]
    drawn = rng.integers(len(syllables), size=(WORDS, 4))
    words = ["".join(syllables[k] for k in row[: 2 + n % 3]) for n, row in enumerate(drawn)]
    return pa.array([*STOP_WORDS, *words[len(STOP_WORDS) :]])


@dataclass(frozen=True)
class _Captions:
    text: pa.Array
    first_words: tuple[pa.Array, pa.Array]
    length: np.ndarray
    memorized: np.ndarray
    reference: np.ndarray


def _captions(rows: np.ndarray, words: pa.Array, rng: np.random.Generator) -> _Captions:
    """Return captions of 4 to 14 words. A template has eight words, of which two vary."""
    count = len(rows)
    drawn = (WORDS ** rng.random((count, LONGEST))).astype(np.int64) - 1
    length = rng.integers(4, LONGEST + 1, count)
    templates = (WORDS ** np.random.default_rng(1).random((TEMPLATES, 8))).astype(np.int64) - 1
    chosen = rng.integers(TEMPLATES, size=count)
    follows = rng.random(count) < 0.3
    slots = [3, 6]
    kept = drawn[:, slots]
    drawn[follows, :8] = templates[chosen[follows]]
    drawn[:, slots] = kept
    length[follows] = 8
    offsets = np.concatenate([[0], np.cumsum(length)])
    flat = drawn[np.arange(LONGEST) < length[:, None]]
    word_lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), words.take(pa.array(flat)))
    return _Captions(
        text=pc.binary_join(word_lists, " "),
        first_words=(words.take(pa.array(drawn[:, 0])), words.take(pa.array(drawn[:, 1]))),
        length=length,
        memorized=follows & (chosen % 20 == 0),
        reference=rows % REFERENCE_EVERY == 0,
    )


def _ids(rows: np.ndarray, scores: int) -> pa.Array:
    """Return ids in ascending order, evenly spread like hashes."""
    step = 2**64 // scores
    table = pa.table({"row": pa.array(rows, pa.uint64())})
    with duckdb.connect() as connection:
        return (
            connection.from_arrow(table)
            .project(f"printf('%016x', row * {step}) || md5(row::VARCHAR)[:16] AS id")
            .to_arrow_table()["id"]
            .combine_chunks()
        )


def _scores(ids: pa.Array, captions: _Captions, part: int) -> pa.Table:
    rng = np.random.default_rng((part, 2))
    count = len(ids)
    lift = 0.5 * captions.memorized * rng.random(count)
    bos = np.clip(rng.normal(0.5, 0.1, count) - lift / 2, 0, 1)
    columns = {
        "caption_id": ids,
        "entropy_e": rng.normal(2.0, 0.2, count) + lift,
        "bos_mass": bos,
        "prompt_mass": (1 - bos) * 0.6,
        "summary_mass": (1 - bos) * 0.4,
        "noise_norm_low": rng.normal(1.0, 0.1, count) + lift,
        "triggers": _triggers(captions.first_words, rng),
        "n_tokens": captions.length + 2,
        "title_case_fraction": np.zeros(count),
        "digit_fraction": np.zeros(count),
        "seeds": np.ones(count, np.int32),
        "truncated": np.zeros(count, bool),
    }
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in SCORES]
    return pa.table(arrays, schema=SCORES)


def _triggers(words: tuple[pa.Array, pa.Array], rng: np.random.Generator) -> pa.Array:
    """Return the first two words of each caption."""
    lengths = [pc.utf8_length(one).to_numpy().astype(np.int32) for one in words]
    count = len(lengths[0])
    start = np.stack([np.zeros(count, np.int32), lengths[0] + 1], 1).ravel()
    order = np.arange(2 * count).reshape(2, count).T.ravel()
    mass = rng.random(2 * count).astype(np.float32)
    arrays = {
        "start": start,
        "end": start + np.stack(lengths, 1).ravel(),
        "text": pa.concat_arrays(list(words)).take(pa.array(order)),
        "token_index": np.tile(np.array([1, 2], np.int32), count),
        "mass": mass / 4,
        "lift": mass * 2,
    }
    fields = list(TRIGGER_FIELD.type.value_type)
    struct = pa.StructArray.from_arrays(
        [pa.array(arrays[field.name]).cast(field.type) for field in fields], fields=fields
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * 2, pa.int32()), struct)


def _write_samples(store: Store, scores: int) -> list[str]:
    """Write one sample per caption and 30 % more, in random order; return the paths."""
    rng = np.random.default_rng(3)
    again = (scores * rng.random(3 * scores // 10) ** 4).astype(np.int64)
    rows = rng.permutation(np.concatenate([np.arange(scores), again]))
    kept = [column("url", pa.string(), "kept from the input, as text")]
    names = []
    for number, some in enumerate(np.array_split(rows, SAMPLE_FILES)):
        key = pa.array([hashlib.md5(b"%d %d" % (number, n)).hexdigest() for n in range(len(some))])
        host = (50_000 ** rng.random(len(some))).astype(np.int64).astype(str)
        urls = pc.binary_join_element_wise(
            "https://images", pa.array(host), ".example/", key, ".jpg", ""
        )
        columns = {
            "caption_id": _ids(some, scores),
            "source": pa.repeat(f"data/{number:04d}.parquet", len(some)),
            "row": np.arange(len(some)),
            "key": key,
            "image_key": urls,
            "url": urls,
            "is_reference": some % REFERENCE_EVERY == 0,
        }
        schema = samples_schema(kept)
        table = pa.table([pa.array(columns[name]) for name in schema.names], schema=schema)
        names.append(write_part(store, "samples", f"{number:04d}", table).path)
    return names
