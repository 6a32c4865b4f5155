"""Near-duplicates of one caption, and clusters of them at the top of the ranking."""

import itertools
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from scanner.query import caption_words, near_duplicate_clusters
from scanner.review.index import Caption, ReviewIndex, phrase

LEAST_JACCARD = 0.5
MOST_CANDIDATES = 2000
# As word_set of sql/macros/clusters.sql.
MOST_WORDS = 75
# Longer captions are looked up by single words, since there are too many pairs.
MOST_PAIRED = 30
# Captions at the top of the ranking whose near-duplicates are shown as clusters.
CLUSTERED = 5000


def near_duplicates(index: ReviewIndex, caption: Caption) -> list[tuple[Caption, float]]:
    """Return the captions whose word sets have a Jaccard index of at least 0.5, with the index,
    most similar first.

    Such a caption shares at least half of the words, so it has two of any words that are two more
    than the other half: pairs of the rarest words find it.
    """
    own = _word_sets([caption])[0]
    if not own:
        return []
    others, near = index.captions(_candidates(index, index.rarest([*own]))), []
    for other, theirs in zip(others, _word_sets(others), strict=True):
        jaccard = len(own & theirs) / len(own | theirs)
        if jaccard >= LEAST_JACCARD and other.position != caption.position:
            near.append((other, jaccard))
    return sorted(near, key=lambda pair: (-pair[1], pair[0].position))


def _word_sets(captions: Sequence[Caption]) -> list[set[str]]:
    return [set(words[:MOST_WORDS]) for words in caption_words([one.caption for one in captions])]


def _candidates(index: ReviewIndex, rarest: list[str]) -> list[int]:
    """Return positions that include every near-duplicate of a caption with these words, unless more
    than MOST_CANDIDATES have the rarest of them."""
    most = len(rarest) // 2
    if 2 < len(rarest) <= MOST_PAIRED:
        pairs = itertools.combinations(range(most + 2), 2)
        # The rarest pairs first: frequent ones fill what is left.
        wanted = [[rarest[a], rarest[b]] for a, b in sorted(pairs, key=sum)]
    else:
        wanted = [[word] for word in rarest[: most + 1]]
    queries = [" AND ".join(phrase([word]) for word in words) for words in wanted]
    found: dict[int, None] = {}
    for query in queries:
        room = MOST_CANDIDATES - len(found)
        if room <= 0:
            break
        found |= dict.fromkeys(index.search(query, room).tolist())
    return list(found)


def top_clusters(index: ReviewIndex) -> dict[int, tuple[str, int]]:
    """Return by position the cluster, and its number of captions, of those at the top that have
    near-duplicates there."""
    top = index.captions(range(min(CLUSTERED, len(index))))
    if not top:
        return {}
    captions = pa.table(
        {"caption_id": [one.caption_id for one in top], "caption": [one.caption for one in top]}
    )
    clusters = near_duplicate_clusters(captions).to_pylist()
    sizes = Counter(clusters)
    return {
        position: (cluster, sizes[cluster])
        for position, cluster in enumerate(clusters)
        if sizes[cluster] > 1
    }
