"""The results of a condition as arrays, sorted by caption and seed."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class ConditionResults:
    """R rows, one per caption and seed, in the same order for every condition.

    image: (R, pixels) in [0, 1]; features: (R, F); rmse, copied: compared with the caption's own
    training images; noise_norm: NaN except without intervention.
    """

    caption: np.ndarray
    family: np.ndarray
    memorized: np.ndarray
    noise_norm: np.ndarray
    rmse: np.ndarray
    copied: np.ndarray
    alignment: np.ndarray
    features: np.ndarray
    image: np.ndarray

    def distance(self, other: "ConditionResults") -> np.ndarray:
        """Return the RMSE (R,) to another condition's images, row by row."""
        return np.sqrt(((self.image - other.image) ** 2).mean(1))

    def agreement(self) -> np.ndarray:
        """Return 1 − RMSE (R,) between a caption's images, averaged over pairs of seeds."""
        similarity = np.ones(len(self.caption))
        for caption in np.unique(self.caption):
            at = np.flatnonzero(self.caption == caption)
            first, second = np.triu_indices(len(at), 1)
            if len(first):
                squared = (self.image[at[first]] - self.image[at[second]]) ** 2
                similarity[at] = 1 - np.sqrt(squared.mean(1)).mean()
        return similarity

    def where(self, mask: np.ndarray, other: "ConditionResults") -> "ConditionResults":
        """Return these rows where ``mask`` is true and another condition's rows elsewhere."""
        columns = {
            name: np.where(mask.reshape(-1, *[1] * (array.ndim - 1)), array, getattr(other, name))
            for name, array in vars(self).items()
        }
        return ConditionResults(**columns)


def by_condition(table: pa.Table, half: int) -> dict[str, ConditionResults]:
    """Return the results per condition for one half of the captions, in the table's order."""
    conditions = {}
    table = table.filter(pa.compute.equal(table["half"], half))
    for name in dict.fromkeys(table["condition"].to_pylist()):
        part = table.filter(pa.compute.equal(table["condition"], name))
        part = part.sort_by([("caption", "ascending"), ("seed", "ascending")])
        pixels = [np.frombuffer(image, np.uint8) for image in part["image"].to_pylist()]
        conditions[name] = ConditionResults(
            caption=np.array(part["caption"].to_pylist()),
            family=np.array(part["family"].to_pylist()),
            memorized=part["memorized"].to_numpy(),
            noise_norm=part["noise_norm"].to_numpy(),
            rmse=part["rmse"].to_numpy(),
            copied=part["copied"].to_numpy().astype(float),
            alignment=part["alignment"].to_numpy(),
            features=np.array(part["features"].to_pylist()),
            image=np.stack(pixels).astype(np.float32) / 255,
        )
    return conditions
