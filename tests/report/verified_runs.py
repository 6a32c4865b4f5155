"""A sealed run with near-duplicates, two sources, verdicts, and images to look at."""

import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from scanner.run import Output
from scanner.run.verdicts import FOLDER, TABLES, VERDICTS, verdict_commits
from scanner.storage import Store
from tests.query.runs import make_run

SEEDS = 4
ODD = "<img src=x onerror=window.ran=4>.csv"
RECORD = {
    "model": {"name": "testbed", "revision": None},
    "options": {"model": {"name": "testbed", "config": None}, "scoring": {"profile": "standard"}},
}
FINGERPRINT = {"seeds": 1, "steps": 50, "guidance": 7.5, "dtype": "float32"}


def caption(number: int) -> str:
    """Every fourth caption is a near-duplicate of the others of its kind."""
    if number % 4 == 0:
        return f"Shaw Floors carpet sample in beige, number {number}"
    return f"alpha{number} beta{number} gamma{number}"


def picture(choose: random.Random, size: tuple[int, int], colors: int = 24) -> bytes:
    """A PNG of smooth random colors, so many each way: with 24 about as easy to compress as a
    photograph."""
    small = Image.frombytes("RGB", (colors, colors), choose.randbytes(3 * colors * colors))
    with io.BytesIO() as file:
        small.resize(size, Image.Resampling.BICUBIC).save(file, "PNG", compress_level=1)
        return file.getvalue()


def verified_run(
    folder: Path,
    captions: int,
    verdicts: dict[int, str],
    size: tuple[int, int] = (512, 384),
    seeds: int = SEEDS,
    colors: int = 24,
) -> str:
    """A run of so many captions, of which those by number have verdicts and images."""
    choose = random.Random(0)
    (folder / "data").mkdir(parents=True)
    training = str(folder / "data/a.parquet")
    pq.write_table(pa.table({"image": [picture(choose, size, colors) for _ in verdicts]}), training)
    rows = [
        {
            "caption_id": f"{number:032x}",
            "caption": caption(number),
            "n_samples": 1 + number % 3,
            "noise_norm_first": 10.0 - number / captions,
            "entropy_e": choose.gauss(3, 0.5),
            "bos_mass": choose.random(),
            "source": ODD if number % 2 else training,
        }
        for number in range(captions)
    ]
    inputs = {"inputs": {"captions": [str(folder / "data")]}}
    run = make_run(folder / "run", rows, fingerprint=FINGERPRINT, record=RECORD | inputs)
    store = Store(run)
    found = []
    for row, (number, verdict) in enumerate(verdicts.items()):
        names = [f"images/{number}-{seed}.png" for seed in range(seeds)]
        for name in names:
            store.write(name, picture(choose, size, colors))
        found.append(
            {
                "caption_id": f"{number:032x}",
                "verdict": verdict,
                "n_references": 1,
                "images": names,
                "reference_source": training,
                "reference_row": row,
                "verified_at": 1.0,
            }
        )
    table = pa.Table.from_pylist(found, VERDICTS)
    verdict_commits(store).commit("v", [Output(f"{FOLDER}/{TABLES}", table)])
    return run
