"""How much one piece of untrusted input may be; each limit is stated here and nowhere else.

What exceeds one is a counted reject of the smallest unit it can be told apart by: a row, else the
rest of its file. Together they keep reading within a GiB per process.
"""

# A caption, and any other value of a row (key, image key, kept column), as UTF-8 or bytes.
CAPTION_BYTES = 1 << 20
# A line of text, or a .txt or .json in a tar. A caption of CAPTION_BYTES fits, escaped as JSON.
LINE_CHARACTERS = 8 << 20
# JSON: lists and objects inside one another; lists, objects and strings of a line over a MiB.
JSON_DEPTH, JSON_PARTS = 64, 1 << 17
# Names of columns that are looked for in rows which may each have others.
NAMES, NAME_CHARACTERS = 10_000, 1 << 20
# The values of a batch of rows.
BATCH_BYTES = 64 << 20
# Python objects of nested JSON are about so many times larger than their text.
OBJECT_FACTOR = 32
# What the values of a Parquet batch come to where a dictionary repeats them.
REPEATED_BYTES = 1 << 30
# Of Parquet: the footer, a decompressed page, one page of each column that is read, and a row
# group's values of a column of lists.
FOOTER_BYTES = 32 << 20
PAGE_BYTES = 512 << 20
PAGES_BYTES = 640 << 20
LISTS_BYTES = 256 << 20
# Of a tar: all headers of one file, its global headers, the files of a sample, and its samples.
TAR_HEADER_BYTES = 64 << 10
SAMPLE_FILES = 1000
TAR_SAMPLES = 4 << 20
# A list of captions that is held whole.
LIST_BYTES = 256 << 20
# An image as stored, and its declared width times height.
IMAGE_BYTES = 64 << 20
IMAGE_PIXELS = 64 << 20

OVER = f"over {CAPTION_BYTES >> 20} MiB"


def is_over(text: str | bytes, limit: int = CAPTION_BYTES) -> bool:
    """Whether a value takes more than ``limit`` bytes, text in UTF-8."""
    if isinstance(text, bytes) or len(text) > limit or 4 * len(text) <= limit:
        return len(text) > limit
    return len(text.encode("utf-8", "surrogatepass")) > limit
