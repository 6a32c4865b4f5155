"""Where the testbed's data lie in this package, and its labels."""

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
    """The frozen label file: caption, group, memorized (bool), and how that was found.

    ``family`` tells captions of one image apart from others (a number a family, null elsewhere);
    ``rows`` is how often the caption stands in the training set; ``reproduced`` of ``tried``
    generations were copies of its own image.
    """
    return pa.csv.read_csv(LABELS)
