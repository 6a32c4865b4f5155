"""Sealed runs over rows of the testbed, with made-up decisions and the real model."""

from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.models import canonical, find_model, load_tokenizer
from scanner.scan.config import ScanConfig
from scanner.scan.opening import options_record
from scanner.testbed.files import TRAIN
from tests.curation.runs import loudness, make_run


def rows_of(captions: list[str]) -> pa.Table:
    """All rows of the testbed's training set with these captions."""
    table = pq.read_table(TRAIN)
    return table.filter(pc.is_in(table["caption"], pa.array(captions)))


def run_over(rows: pa.Table, folder: Path, model: str = "testbed") -> str:
    """A sealed run in ``folder / "run"`` over rows in ``folder / "data.parquet"``."""
    pq.write_table(rows, folder / "data.parquet")
    files = find_model(model)
    record = {"name": files.name, "revision": None, "weights": files.weights_hash()}
    config = ScanConfig(model=model)
    return make_run(
        folder / "run",
        loudness,
        record={"options": options_record(config, config.model_spec), "model": record},
        make_canonical=partial(partial, canonical, load_tokenizer(files)),
        captions=(str(folder / "data.parquet"),),
    )
