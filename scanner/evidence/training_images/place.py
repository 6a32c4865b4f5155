"""Options for where the images of samples are."""

from dataclasses import dataclass

from scanner.errors import UsageError
from scanner.evidence.training_images.image_path import names_of


@dataclass(frozen=True, kw_only=True)
class ImagePlace:
    """Where training images are, if not next to their captions; a field's docstring is its help."""

    images: str | None = None
    """Path template of a sample's image, with columns of samples as fields
    (s3://bucket/{key}.jpg); by default the parquet file's image column or the sample's tar."""
    image_column: str | None = None
    """Parquet image column; by default detected by name (image, jpg, png …)."""

    def check_images(self) -> None:
        """Raise UsageError for an invalid template, and if both options are given."""
        if self.images:
            names_of(self.images)
            if self.image_column:
                raise UsageError("--images and --image-column exclude each other; drop one")


NEXT_TO_CAPTIONS = ImagePlace()
