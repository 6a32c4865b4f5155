import itertools
import re
from collections import Counter

import pyarrow as pa
from datasketch import MinHash, MinHashLSH

from scanner.query import near_duplicate_clusters

FAMILIES = {
    "floor": "Shaw Floors Caress By Shaw Cashmere Classic {} 0012{}_CC09B",
    "rug": "{} {} Indoor Area Rug by Andover Mills",
    "curtain": "Pencil pleat curtains in collection {}, fabric: {}-37",
    "flower": "nature morte aux fleurs de {} et de {}, huile sur toile",
    "hills": "雪山の朝、湖に映る空と雲{}{}",
}
FILLED = [("Icelandic", 1), ("Bismuth", 2), ("Navajo", 3), ("Mesquite", 4), ("Heirloom", 5)]
SINGLES = [
    "A serene beach at sunrise",
    "Snow-covered rooftops in a small town",
    "The No Limits Business Woman Podcast",
    "Mothers influence on her young hippo",
    "🎉🎉",
    "❤️",
    "",
    "a",
]
FAMILY_CAPTIONS = [text.format(*words) for text in FAMILIES.values() for words in FILLED]


def clusters(texts: list[str]) -> list[str]:
    """The cluster of each caption."""
    ids = [f"{n:04}" for n in range(len(texts))]
    return near_duplicate_clusters(pa.table({"caption_id": ids, "caption": texts})).to_pylist()


def partition(labels: list[str] | list[int]) -> set[frozenset[int]]:
    return {frozenset(n for n, one in enumerate(labels) if one == label) for label in labels}


def words(text: str) -> set[str]:
    spaced = re.sub(r"([\u3040-\u30ff\u4e00-\u9fff])", r" \1 ", text.lower())
    return set(re.findall(r"[^\W_]+", spaced)) or {text}


def by_datasketch(texts: list[str]) -> list[int]:
    """Connected components of what datasketch's own MinHash and banding find at 0.5."""
    index, sketches = MinHashLSH(threshold=0.5, num_perm=256), []
    for n, text in enumerate(texts):
        sketch = MinHash(num_perm=256)
        sketch.update_batch([word.encode() for word in words(text)])
        sketches.append(sketch)
        index.insert(n, sketch)
    label = list(range(len(texts)))
    for a, b in itertools.combinations(range(len(texts)), 2):
        if b in index.query(sketches[a]) and sketches[a].jaccard(sketches[b]) >= 0.5:
            label = [label[a] if one == label[b] else one for one in label]
    return label


def test_clusters_match_an_independent_minhash_library() -> None:
    texts = FAMILY_CAPTIONS + SINGLES
    found = partition(clusters(texts))
    assert found == partition(by_datasketch(texts))
    assert sorted(map(len, found)) == [1] * len(SINGLES) + [len(FILLED)] * len(FAMILIES)


def test_a_cluster_s_name_does_not_depend_on_caption_order() -> None:
    texts = FAMILY_CAPTIONS + SINGLES
    names = clusters(texts)
    for cluster in partition(names):
        assert int(names[min(cluster)]) in cluster
    turned = clusters(texts[::-1])[::-1]
    assert partition(turned) == partition(names)


def test_case_punctuation_and_word_order_make_no_difference() -> None:
    one, two, other = clusters(["Red CAR, on a road!", "on a road: red car", "blue bird in a tree"])
    assert one == two != other


def test_text_that_the_model_does_not_read_is_ignored() -> None:
    read = " ".join(f"word{n}" for n in range(75))
    one, two = clusters([read, read + " ".join(f" more{n}" for n in range(300))])
    assert one == two


def test_a_chain_of_similar_captions_is_split() -> None:
    texts = [" ".join(f"w{n + k}" for k in range(8)) for n in range(600)]
    names = clusters(texts)
    assert max(Counter(names).values()) <= 9
    for text, name in zip(texts, names, strict=True):
        both = words(text), words(texts[int(name)])
        assert len(both[0] & both[1]) / len(both[0] | both[1]) >= 0.3


def test_a_hub_of_common_words_does_not_join_unlike_captions() -> None:
    tails = [[f"w{n}x{k}" for k in range(9)] for n in range(300)]
    texts = ["a photo of the"] + ["a photo of the " + " ".join(tail) for tail in tails]
    assert len(set(clusters(texts))) == len(texts)


def test_a_family_beyond_the_comparison_limit_is_one_cluster() -> None:
    texts = [f"dining chair in solid oak with linen seat, model {n}" for n in range(400)]
    assert len(set(clusters(texts))) == 1


def test_equal_texts_share_a_cluster_when_a_bucket_overflows() -> None:
    texts = ["one and the same text", "One and the same text!"] * 200 + ["something else here"]
    assert sorted(Counter(clusters(texts)).values()) == [1, 400]


def test_no_captions_and_one_caption() -> None:
    empty = pa.table(
        {"caption_id": pa.array([], pa.string()), "caption": pa.array([], pa.string())}
    )
    assert near_duplicate_clusters(empty).to_pylist() == []
    assert clusters(["alone"]) == ["0000"]
