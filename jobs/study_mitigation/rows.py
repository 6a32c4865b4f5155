"""The rows of one condition, as arrays in one order of captions and seeds."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Rows:
    """R rows, a caption and seed each; in every condition in the same order.

    image: (R, pixels) in [0, 1]; features: (R, F); rmse, copied: to the caption's own images;
    noise_norm: known where nothing is changed.
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

    def distance(self, other: "Rows") -> np.ndarray:
        """RMSE to the images of another condition, row by row: (R,)."""
        return np.sqrt(((self.image - other.image) ** 2).mean(1))

    def agreement(self) -> np.ndarray:
        """1 − RMSE between the images of a caption's seeds, the same for each of them: (R,)."""
        found = np.ones(len(self.caption))
        for caption in np.unique(self.caption):
            at = np.flatnonzero(self.caption == caption)
            one, other = np.triu_indices(len(at), 1)
            if len(one):
                apart = (self.image[at[one]] - self.image[at[other]]) ** 2
                found[at] = 1 - np.sqrt(apart.mean(1)).mean()
        return found

    def where(self, chosen: np.ndarray, other: "Rows") -> "Rows":
        """These rows where ``chosen``, and another condition's elsewhere."""
        picked = {
            name: np.where(chosen.reshape(-1, *[1] * (mine.ndim - 1)), mine, getattr(other, name))
            for name, mine in vars(self).items()
        }
        return Rows(**picked)


def collect(table: pa.Table, half: int) -> dict[str, Rows]:
    """The conditions of one half of the captions, by name, in the order of the table."""
    found = {}
    kept = table.filter(pa.compute.equal(table["half"], half))
    for name in dict.fromkeys(kept["condition"].to_pylist()):
        part = kept.filter(pa.compute.equal(kept["condition"], name))
        part = part.sort_by([("caption", "ascending"), ("seed", "ascending")])
        pixels = [np.frombuffer(one, np.uint8) for one in part["image"].to_pylist()]
        found[name] = Rows(
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
    return found
