"""Facets that the ranked captions of a report can be filtered by."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scanner.report.rows import Row

NO_VERDICT = "not verified"
NO_RULE = "no rule"
NO_ACTION = "none"
# Clusters that captions can be filtered by: the largest.
MOST_CLUSTERS = 200
LABEL_LENGTH = 60


@dataclass(frozen=True)
class Facet:
    """A property of captions. ``name``: in the page's address; ``labels``: what the page shows of
    each value, by value; ``numbers``: of the values that each row has, by the row's index."""

    name: str
    title: str
    labels: dict[str, str]
    numbers: list[list[int]]


def facets_of(rows: Sequence[Row]) -> list[Facet]:
    """Return the facets in which the rows differ."""
    sizes = Counter(row["cluster"] for row in rows if row["near"] > 1)
    clusters = dict(sizes.most_common(MOST_CLUSTERS))
    captions = {row["caption_id"]: row["caption"] for row in rows}
    names = {cluster: _shorten(captions[cluster]) for cluster in clusters}
    facets = [
        _facet("verdict", "verdict", [[row["verdict"] or NO_VERDICT] for row in rows]),
        _facet("action", "action of the policy", [[row["action"] or NO_ACTION] for row in rows]),
        _facet("rule", "rule of the policy", [[row["rule"] or NO_RULE] for row in rows]),
        _facet("source", "source", [row["sources"] for row in rows]),
        _facet(
            "cluster",
            "near-duplicates",
            [[row["cluster"]] if row["cluster"] in clusters else [] for row in rows],
            names,
        ),
    ]
    return [facet for facet in facets if len({tuple(numbers) for numbers in facet.numbers}) > 1]


def _facet(
    name: str, title: str, values: list[list[str]], labels: dict[str, str] | None = None
) -> Facet:
    """Return a facet; its values are in the order of ``labels``, or else by falling frequency."""
    counts = Counter(value for some in values for value in some)
    labels = labels or {value: value for value, _ in counts.most_common()}
    number = {value: index for index, value in enumerate(labels)}
    return Facet(name, title, labels, [[number[value] for value in some] for some in values])


def _shorten(caption: str) -> str:
    line = " ".join(caption[: 2 * LABEL_LENGTH].split())
    return line if len(line) <= LABEL_LENGTH else f"{line[: LABEL_LENGTH - 1]}…"
