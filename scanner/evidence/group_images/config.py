"""The options of group-images."""

from dataclasses import dataclass

from scanner.errors import UsageError
from scanner.evidence.training_images.options import SampleOptions

MOST_BITS = 16


@dataclass(frozen=True, kw_only=True)
class GroupImagesConfig(SampleOptions):
    """Options of grouping images; a field's docstring is its help."""

    distance: int = 4
    """Largest difference between the perceptual hashes of linked images, in bits of 64; images
    whose colors differ are not linked."""
    image_clusters: str | None = None
    """File of clusters that another tool made, instead of hashes or, with --where, in addition to
    them: parquet, csv, tsv or jsonl with a column cluster, and a column key (as in samples) or
    image_key or url (the image key)."""

    def check(self) -> None:
        """Raise UsageError for values out of range and options that conflict."""
        self.check_samples()
        if self.where is None and self.image_clusters is None:
            raise UsageError(
                "name the captions whose samples' images to group with --where, for example true "
                "for all, or a file of clusters with --image-clusters"
            )
        if not 0 <= self.distance <= MOST_BITS:
            raise UsageError(f"--distance {self.distance}: must be 0 to {MOST_BITS}")
