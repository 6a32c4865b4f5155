"""The verdicts that have joined a run: tables that readers find through their commits.

A verification commits a table each time it judges, under its own name; the newest verdict of a
caption holds. Verdicts on mitigated pictures have a folder of their own, so that no reader takes
them for plain ones; there the newest of a caption and a mitigation holds.

A verdict of a copy (``COPIES``) needs a training image that the pictures are like. Seeds that agree
without one are ``SEED_CONSISTENT``: the model draws one picture, whose it is has not been shown.
"""

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
KINDS = (*COPIES, SEED_CONSISTENT, "none")
MEND = "remove it and run the same memscan verify again: its verdicts join the run again"

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
        column("agreeing_share", pa.float32(), "share of the cells that agree, blank ones aside"),
        column("likeness", pa.float32(), "SSIM to the nearest training image, mean over seeds"),
        column("likeness_part", pa.float32(), "the same, over the cells that agree across seeds"),
        column("likeness_hash", pa.float32(), "share of equal bits of the perceptual hash"),
        column("likeness_embedding", pa.float32(), "cosine in the copy-detection embedding"),
        column("n_references", pa.int32(), "how many training images were compared"),
        column("reference_source", pa.string(), "the file of the nearest one's sample"),
        column("reference_row", pa.int64(), "its row there"),
        column("images", pa.list_(pa.string()), "the pictures, a file a seed"),
        column("picture", pa.list_(pa.float32()), "mean picture, 3 × 8 × 8, in [0, 1]"),
    ]
)
VERDICTS = pa.schema(
    [
        CAPTION_ID,
        column("verdict", pa.string(), f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"),
        column("reason", pa.string(), "what the verdict rests on"),
        column("same_picture", pa.int32(), "how many captions of the verification draw it"),
        *(field for field in MEASURES if field.name != "caption_id"),
        column("verification", pa.string(), "names captions and settings"),
        column("thresholds", pa.string(), "where a verdict begins, as JSON"),
        column("verified_at", pa.float64(), "when it was judged", "seconds since 1970"),
    ]
)
MITIGATED = pa.schema(
    [*VERDICTS, column("mitigation", pa.string(), "what was mitigated and how strongly, as JSON")]
)


def verdict_commits(store: Store, folder: str = FOLDER) -> Commits:
    """The commits of a run's verdicts, one slice a verification; the highest generation holds."""
    return Commits(store, f"{folder}/commits", mend=MEND)


def verdict_parts(store: Store, folder: str = FOLDER) -> list[str]:
    """The tables of verdicts that hold, by the commits that name them."""
    return [part.path for commit in verdict_commits(store, folder).all() for part in commit.parts]


def newest(commits: list[Commit]) -> Commit | None:
    """The commit whose verdicts hold where several judge the same caption."""
    return max(commits, key=lambda commit: commit.notes["verified_at"], default=None)
