"""Locations of the testbeds' files in this package, and their labels."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from scanner.models.files.packaged import PACKAGED

FOLDER = Path(__file__).parent
DATA = FOLDER / "data"
TRAIN = DATA / "train.parquet"
HELDOUT = DATA / "heldout.parquet"


@dataclass(frozen=True)
class Testbed:
    """A packaged model, its label file, and its calibration for the profile ``standard``."""

    model: Path
    labels: Path
    calibration: Path


TESTBEDS = {
    "testbed": Testbed(PACKAGED["testbed"], DATA / "labels.csv", FOLDER / "calibration.json"),
    "testbed-dit": Testbed(
        PACKAGED["testbed-dit"], DATA / "labels_dit.csv", FOLDER / "calibration_dit.json"
    ),
}
"""The U-Net and the transformer, trained on the same data set."""
MODEL, LABELS = TESTBEDS["testbed"].model, TESTBEDS["testbed"].labels


def labels(name: str = "testbed") -> pa.Table:
    """Read a testbed's label file: caption, group, memorized (bool), and the counts behind it.

    ``family``: number shared by captions of one image, null for others; ``rows``: number of rows in
    the training set; ``reproduced`` of ``tried`` generations were copies of the caption's image.
    ``verdict``: template for a memorized caption with a family, verbatim for any other memorized
    caption, or none.
    """
    return pa.csv.read_csv(TESTBEDS[name].labels)
