"""The options of index-images, and those of the embedding, which a search repeats."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from scanner.cluster.connection.options import ActorOptions
from scanner.errors import UsageError
from scanner.evidence.embedding_file import embedding_of
from scanner.evidence.training_images.place import ImagePlace
from scanner.models.device.device_option import check_device


@dataclass(frozen=True, kw_only=True)
class IndexConfig(ActorOptions, ImagePlace):
    """Options of indexing the images of a training set; a field's docstring is its help."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A run (its directory or URL) to index the training set that it scanned; or input files,
    directories or globs of parquet, tar, csv or jsonl, as for memscan scan --captions."""
    out: str
    """Directory or URL of the index."""
    input_root: tuple[str, ...] = ()
    """Also read images below this directory or URL, in addition to those below the scan's
    --captions or the given files; repeat the option, or list several."""
    key_column: str | None = None
    """Column of the samples' keys in input files; by default detected by name, as in memscan scan.
    A run has its own."""
    image_key: str | None = None
    """Column that identifies the image in input files (samples with equal values share one image);
    by default url or a hash, as in memscan scan; none: index every row. A run has its own."""
    embedding: str | None = None
    """A copy-detection embedding, such as SSCD: a TorchScript (.pt) or ONNX (.onnx) file or URL; by
    default a built-in descriptor of colors and edges, which finds copies but not crops or mirror
    images."""
    embedding_sha256: str | None = None
    """SHA-256 of the embedding file; required with --embedding."""
    device: str = "auto"
    """Device of the embedding: cuda, cpu or auto (cuda if available); the built-in descriptor
    always uses the CPU."""
    batch_size: int = 64
    """Images per batch of the embedding."""
    single_writer: bool = False
    """Allow a store without create-if-absent (conditional writes); then run only one index-images
    at a time."""
    json: bool = False
    """Print the result as JSON."""

    def check(self) -> None:
        """Raise UsageError for invalid options."""
        self.check_actors()
        embedding_of(self.embedding, self.embedding_sha256)
        if not self.inputs:
            raise UsageError("name a run, or input files, to index")
        if self.batch_size < 1:
            raise UsageError(f"--batch-size {self.batch_size}: must be at least 1")
        check_device(self.device)
        self.check_images()
