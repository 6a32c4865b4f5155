"""The verdicts stored in a run: tables that readers find through their commits.

Each verification commits one table under its name; the newest verdict for a caption is valid.
Verdicts on mitigated pictures are stored in a separate folder, to keep them out of plain queries;
there the newest for a caption and a mitigation is valid.

Verdicts of copies (``COPIES``) require a similar training image. If the pictures agree across seeds
but no training image is similar, the verdict is ``SEED_CONSISTENT``: the source is unknown,
unless an index of all training images was searched (``SOURCES``). An adversary's verdict is beside
the verdict (``ADVERSARIAL``).
"""

from typing import Literal

import pyarrow as pa

from scanner.run.commits import Commits
from scanner.run.records import Commit
from scanner.run.schema import CAPTION_ID, column
from scanner.storage import Store

FOLDER = "verdicts"
MITIGATED_FOLDER = "mitigated"
TABLES = "tables"
COPIES = ("verbatim", "template")
SEED_CONSISTENT = "seed-consistent"
OWN_CAPTION: Literal["caption"] = "caption"
KINDS = (*COPIES, SEED_CONSISTENT, "none")
OWN, OTHER, SOURCE_NONE = SOURCE_MATCHES = ("own", "other", "none")
REMEDY = "remove it and rerun the same memscan verify, which adds its verdicts again"

MEASURES = pa.schema(
    [
        CAPTION_ID,
        column("caption", pa.string(), "what was generated from"),
        column("seeds", pa.int32(), "how many seeds were generated"),
        column("agreement", pa.float32(), "multi-scale SSIM of the pictures, mean over seed pairs"),
        column(
            "agreement_noise",
            pa.float32(),
            "multi-scale SSIM of the first step's noise differences, mean over seed pairs",
        ),
        column("tile_distance", pa.float32(), "RMSE of the most different of 16 tiles", "[0, 1]"),
        column("agreeing_share", pa.float32(), "share of non-blank cells that agree"),
        column("likeness", pa.float32(), "SSIM to the nearest training image, mean over seeds"),
        column("likeness_part", pa.float32(), "the same, over the cells that agree across seeds"),
        column("likeness_hash", pa.float32(), "share of equal bits of the perceptual hash"),
        column("likeness_embedding", pa.float32(), "cosine in the copy-detection embedding"),
        column("n_references", pa.int32(), "how many training images were compared"),
        column("reference_source", pa.string(), "input file of the nearest training image"),
        column("reference_row", pa.int64(), "its row in that file"),
        column("images", pa.list_(pa.string()), "the pictures, one file per seed"),
        column("picture", pa.list_(pa.float32()), "mean picture, 3 × 8 × 8, in [0, 1]"),
    ]
)
# Begins the part of a verdict's reason that names the nearest training image.
SOURCE_REASON = "nearest training image"
SOURCES = pa.schema(
    [
        column(
            "source_match",
            pa.string(),
            "whose training image the pictures match, of all images of an index: own (one of the "
            "caption), other (one under other captions only) or none; null without an index",
        ),
        column(
            "source_keys",
            pa.list_(pa.string()),
            "keys of the training images nearest to the pictures, nearest first (file#row if they "
            "have none)",
        ),
        column(
            "source_similarities",
            pa.list_(pa.float32()),
            "cosine similarity of each, mean over seeds",
        ),
        column("source_image_key", pa.string(), "image key of the nearest one"),
        column("source_file", pa.string(), "input file of the nearest one"),
        column("source_row", pa.int64(), "its row in that file"),
        column(
            "source_caption_ids",
            pa.list_(pa.string()),
            "captions that have the nearest one in the training set, most samples first",
        ),
    ]
)
ATTACKS_KIND = "attacks"
"""The kind of the parts with ATTACKS, beside those with MEASURES."""
ATTACKS = pa.schema(
    [
        *MEASURES,
        column("kind", pa.string(), "embedding or swap: what the adversary changed"),
        column("attacked_caption", pa.string(), "the caption, or with words replaced"),
        column("distance", pa.float32(), "relative change of a text position's embedding (RMS)"),
        column("error", pa.float32(), "denoising error of the training image, 1 with the caption"),
    ]
)
ADVERSARIAL = pa.schema(
    [
        column(
            "adversarial_verdict",
            pa.string(),
            "verdict on the start near the caption whose pictures are most like the training "
            "image; null without --adversarial, or if no training image was compared",
        ),
        column(
            "adversarial_kind",
            pa.string(),
            "that start: embedding (moved within the radius), swap (words replaced) or caption "
            "(neither is more like the training image)",
        ),
        column("adversarial_caption", pa.string(), "its caption, if words were replaced"),
        column(
            "adversarial_distance",
            pa.float32(),
            "how far its embedding is from the caption's: relative change of a text position, root "
            "mean square",
        ),
        column(
            "adversarial_error",
            pa.float32(),
            "denoising error of the training image with it, 1 with the caption itself",
        ),
        column("adversarial_likeness", pa.float32(), "its SSIM to the training image"),
        column("adversarial_images", pa.list_(pa.string()), "its pictures, one file per seed"),
    ]
)
VERDICTS = pa.schema(
    [
        CAPTION_ID,
        column("verdict", pa.string(), f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"),
        column("reason", pa.string(), "measurements behind the verdict"),
        column("same_picture", pa.int32(), "captions of the verification with this picture"),
        *(field for field in MEASURES if field.name != "caption_id"),
        *SOURCES,
        *ADVERSARIAL,
        column("verification", pa.string(), "name: hash of captions and settings"),
        column("thresholds", pa.string(), "thresholds of the verdicts, as JSON"),
        column("verified_at", pa.float64(), "when it was judged", "seconds since 1970"),
    ]
)
MITIGATED = pa.schema(
    [*VERDICTS, column("mitigation", pa.string(), "what was mitigated and how strongly, as JSON")]
)


def verdict_commits(store: Store, folder: str = FOLDER) -> Commits:
    """Return the commits of a run's verdicts, one slice per verification."""
    return Commits(store, f"{folder}/commits", remedy=REMEDY)


def verdict_parts(store: Store, folder: str = FOLDER) -> list[str]:
    """Return the valid tables of verdicts, as the commits list them."""
    return [part.path for commit in verdict_commits(store, folder).all() for part in commit.parts]


def newest(commits: list[Commit]) -> Commit | None:
    """Return the commit whose verdicts are valid if several judge the same caption."""
    return max(commits, key=lambda commit: commit.notes["verified_at"], default=None)
