"""Size limits for untrusted input; every limit is defined here.

Input that exceeds a limit is rejected and counted in the smallest separable unit: a row, otherwise
the rest of its file. Together the limits keep reading within 1 GiB per process.
"""

# A caption or other value of a row (key, image key, kept column), in UTF-8 bytes.
CAPTION_BYTES = 1 << 20
# A line of text, or a .txt or .json in a tar. Fits a caption of CAPTION_BYTES escaped as JSON.
LINE_CHARACTERS = 8 << 20
# JSON: nesting depth; number of lists, objects and strings in a line over 1 MiB.
JSON_DEPTH, JSON_PARTS = 64, 1 << 17
# Column names collected from rows that may each have different ones.
NAMES, NAME_CHARACTERS = 10_000, 1 << 20
# Values of a batch of rows, which planning copies several times.
BATCH_BYTES = 16 << 20
# Values decoded from Parquet at a time, then split into batches.
PARQUET_BATCH_BYTES = 32 << 20
# Approximate size of nested JSON as Python objects, relative to its text.
OBJECT_FACTOR = 32
# Decoded size of a Parquet batch whose values repeat from a dictionary.
REPEATED_BYTES = 1 << 30
# Values of a row group that is needed as a whole.
ROW_GROUP_BYTES = 1 << 30
# Parquet: the footer, a decompressed page, one page of each column read, and a row group's values
# of a list column.
FOOTER_BYTES = 32 << 20
PAGE_BYTES = 512 << 20
PAGES_BYTES = 640 << 20
LISTS_BYTES = 256 << 20
# Tar: all headers of one file (or global headers), files per sample, samples per tar.
TAR_HEADER_BYTES = 64 << 10
SAMPLE_FILES = 1000
TAR_SAMPLES = 4 << 20
# A list of captions held in memory.
LIST_BYTES = 256 << 20
# An image file, and its declared width times height.
IMAGE_BYTES = 64 << 20
IMAGE_PIXELS = 64 << 20

OVER = f"over {CAPTION_BYTES >> 20} MiB"


def is_over(text: str | bytes, limit: int = CAPTION_BYTES) -> bool:
    """Return whether a value exceeds ``limit`` bytes (text in UTF-8)."""
    if isinstance(text, bytes) or len(text) > limit or 4 * len(text) <= limit:
        return len(text) > limit
    return len(text.encode("utf-8", "surrogatepass")) > limit
