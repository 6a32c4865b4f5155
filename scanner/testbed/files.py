"""Locations of the testbed's files in this package, and its labels."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

FOLDER = Path(__file__).parent
DATA = FOLDER / "data"
TRAIN = DATA / "train.parquet"
HELDOUT = DATA / "heldout.parquet"
LABELS = DATA / "labels.csv"
MODEL = FOLDER / "model"
CALIBRATION = FOLDER / "calibration.json"


def labels() -> pa.Table:
    """Read the label file: caption, group, memorized (bool), and the counts behind it.

    ``family``: number shared by captions of one image, null for others; ``rows``: number of rows in
    the training set; ``reproduced`` of ``tried`` generations were copies of the caption's image.
    """
    return pa.csv.read_csv(LABELS)
