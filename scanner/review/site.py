"""The pages of the server, and what they need, for one run."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from scanner.calibration.evaluation.reviewed_precision import ReviewedPrecision, precision_at_depths
from scanner.errors import UserError
from scanner.evidence.training_images.image_path import names_of
from scanner.evidence.training_images.place import NEXT_TO_CAPTIONS, ImagePlace
from scanner.pages import render_served
from scanner.query import RunTables
from scanner.query.hashes import hashes
from scanner.review.book import DecisionBook, is_disputed
from scanner.review.caption_page import CaptionReader
from scanner.review.histogram import Bar, histogram
from scanner.review.index import Caption, Positions, ReviewIndex
from scanner.review.near import top_clusters
from scanner.review.pictures import Pictures
from scanner.review.requests import DecideRequest
from scanner.review.samples import CaptionSamples
from scanner.review.selection import DECIDED, ORDERS, Filters, Selections
from scanner.run import Run
from scanner.run.decisions import CHOICES, LABELS, MOST_CAPTIONS
from scanner.storage import Roots

log = logging.getLogger("memscan.review")

FOLDER = Path(__file__).parent
PAGE = 25
SHOWN_SAMPLES = 20


@dataclass
class Site:
    """One run under review. ``base``: the path of its pages; ``reviewer``: the name that a page
    suggests; ``clusters``: number of captions per cluster, and the cluster, by position."""

    tables: RunTables
    index: ReviewIndex
    book: DecisionBook
    selections: Selections
    reader: CaptionReader
    pictures: Pictures
    verdicts: dict[str, str]
    clusters: dict[int, tuple[str, int]]
    sources: list[str]
    base: str
    reviewer: str
    read_only: bool

    def queue(self, filters: Filters, page: int) -> str:
        """Render a page of the queue. Raises UserError for filters that are not valid."""
        self.book.refresh()
        positions = self.selections.positions(filters)
        pages = max(1, -(-len(positions) // PAGE))
        page = min(max(1, page), pages)
        shown = [int(position) for position in positions[(page - 1) * PAGE : page * PAGE]]
        rows = [self._row(caption) for caption in self.index.captions(shown)]
        return self._render(
            "queue.html.j2",
            filters=filters,
            rows=rows,
            page=page,
            pages=pages,
            total=len(positions),
            bins=self._histogram(filters, positions),
            sources=self.sources,
            kinds=sorted(set(self.verdicts.values())),
            orders=ORDERS if self.index.calibrated else [o for o in ORDERS if o != "uncertain"],
            decided=DECIDED,
        )

    def caption(self, caption_id: str, filters: Filters) -> str | None:
        """Render the page of a caption, None if the ranking has none with this id."""
        caption = self.index.find(caption_id)
        if caption is None:
            return None
        self.book.refresh()
        positions = self.selections.positions(filters)
        found: list[int] = np.flatnonzero(positions == caption.position).tolist()
        place = found[0] if found else None
        around = [] if place is None else [place - 1, place + 1]
        before, after = (
            self.index.captions([int(positions[k])])[0] if 0 <= k < len(positions) else None
            for k in (around or [-1, -1])
        )
        content = self.reader.read(caption)
        return self._render(
            "caption.html.j2",
            filters=filters,
            row=self._row(caption),
            content=content,
            near=[(self._row(one), jaccard) for one, jaccard in content.near],
            before=before,
            after=after,
            place=place,
            total=len(positions),
            reference=self.reader.reference,
        )

    def samples(self, caption_id: str) -> dict[str, Any]:
        """Return a caption's samples, and other captions of their images."""
        found = self.reader.others_of_image(caption_id)
        samples = self.reader.samples.of(caption_id)[:SHOWN_SAMPLES]
        return {
            "samples": [{name: row[name] for name in ("source", "row", "key")} for row in samples],
            "others": [{"caption_id": one.caption_id, "caption": one.caption} for one in found],
        }

    def summary(self) -> str:
        """Render what reviewers have decided so far, and the precision it implies."""
        self.book.refresh()
        stated = self.book.all()
        counts: dict[str, dict[str, int]] = {}
        for some in stated.values():
            for reviewer, statement in some.items():
                of = counts.setdefault(reviewer, dict.fromkeys(("captions", *LABELS, *CHOICES), 0))
                of["captions"] += 1
                for value in (statement.label, statement.decision):
                    if value:
                        of[value] += 1
        return self._render(
            "summary.html.j2",
            counts=counts,
            labels=LABELS,
            choices=CHOICES,
            disputed=sum(is_disputed(some.values()) for some in stated.values()),
            precision=self.precision(),
        )

    def precision(self) -> list[ReviewedPrecision]:
        """Estimate the precision of the ranking from the decisions so far."""
        agreed = {}
        for caption_id, some in self.book.all().items():
            labels = {one.label for one in some.values()} - {None, "unsure"}
            if len(labels) == 1:
                agreed[caption_id] = str(labels.pop())
        rows = [
            (caption.position + 1, agreed[name], self.book.sampling_probability(name))
            for name in agreed
            if (caption := self.index.find(name)) is not None
        ]
        return precision_at_depths(rows)

    def decide(self, request: DecideRequest, stated: dict[str, Any]) -> dict[str, Any]:
        """Record a decision; return the entry's number and what is stated now. Raises UserError."""
        filters = Filters.of(_parsed(request.selection or request.query))
        if request.selection is not None:
            positions = self.selections.positions(filters)
            if len(positions) != request.count:
                raise UserError(
                    f"the selection has {len(positions):,} captions now, not {request.count:,}: "
                    "reload the page and decide again"
                )
            if len(positions) > MOST_CAPTIONS:
                raise UserError(f"at most {MOST_CAPTIONS:,} captions at once; add a filter")
        else:
            positions = self.index.at(hashes(request.captions))
        captions = self.index.captions(positions)
        if not captions or (not request.selection and len(captions) != len(set(request.captions))):
            raise UserError("captions: some are not in this run's ranking; reload the page")
        drawn = {one.caption_id: self._probability(one, filters) for one in captions}
        number = self.book.decide(request.reviewer, drawn, stated, filters.order)
        return {"entry": number, "captions": self.stated(list(drawn)[: PAGE * 4])}

    def undo(self, reviewer: str) -> dict[str, Any]:
        """Take back a reviewer's last decision. Raises UserError."""
        undone = self.book.undo(reviewer)
        return {"undone": len(undone), "captions": self.stated(undone[: PAGE * 4])}

    def stated(self, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
        """Return what reviewers state about captions, for JSON."""
        return {name: _statements(self.book.statements(name)) for name in ids}

    def _probability(self, caption: Caption, filters: Filters) -> float | None:
        if filters.order != "sample":
            return None
        return self.selections.sample(filters.n).probability(caption.position)

    def _row(self, caption: Caption) -> dict[str, Any]:
        position = caption.position
        probability = float(self.index.probability[position])
        cluster, size = self.clusters.get(position, ("", 0))
        statements = self.book.statements(caption.caption_id)
        return {
            "rank": position + 1,
            "caption_id": caption.caption_id,
            "caption": caption.caption,
            "samples": int(self.index.n_samples[position]),
            "score": float(self.index.rank_score[position]),
            "probability": None if np.isnan(probability) else probability,
            "verdict": self.verdicts.get(caption.caption_id),
            "cluster": cluster,
            "cluster_size": size,
            "statements": _statements(statements),
            "disputed": is_disputed(statements.values()),
        }

    def _histogram(self, filters: Filters, positions: Positions) -> list[Bar]:
        version = self.book.version if filters.decided != "any" else 0
        plain = filters if filters.order == "sample" else dataclasses.replace(filters, order="")
        key = (plain, "bars", version)
        is_part = filters.is_filtered or filters.order == "sample"
        chosen = positions if is_part else None
        return self.selections.keep(key, lambda: histogram(self.index, chosen))

    def _render(self, name: str, **values: Any) -> str:
        shared = {
            "base": self.base,
            "run": self.tables.url,
            "signal": self.index.signal,
            "calibrated": self.index.calibrated,
            "reviewer": self.reviewer,
            "read_only": self.read_only,
            "has_images_option": bool(self.pictures.place.images),
            "captions": len(self.index),
        }
        return render_served(FOLDER / name, **{**shared, **values})


def make_site(
    tables: RunTables,
    index: ReviewIndex,
    tokenizer: Any | None,
    roots: Roots,
    base: str,
    reviewer: str,
    read_only: bool,
    place: ImagePlace = NEXT_TO_CAPTIONS,
) -> Site:
    """Prepare the pages of a run; ``roots``: where images may be, besides the run; ``place``: of
    training images."""
    store = Run.existing(tables.url).store
    book = DecisionBook(store)
    rows = tables.query("SELECT caption_id, verdict FROM verdicts").to_pylist()
    verdicts = {row["caption_id"]: row["verdict"] for row in rows}
    sources = tables.query("SELECT DISTINCT source FROM samples ORDER BY source LIMIT 200")
    samples = CaptionSamples(tables, names_of(place.images) if place.images else ())
    log.info("reading the distribution of the signals")
    site = Site(
        tables=tables,
        index=index,
        book=book,
        selections=Selections(tables, index, book),
        reader=CaptionReader(tables, index, tokenizer, samples, verdicts),
        pictures=Pictures(tables, samples, store, roots, place),
        verdicts=verdicts,
        clusters=top_clusters(index),
        sources=sources["source"].to_pylist(),
        base=base,
        reviewer=reviewer,
        read_only=read_only,
    )
    site.queue(Filters(), 1)  # the first page's histogram counts all captions
    return site


def _statements(statements: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"reviewer": reviewer, **dataclasses.asdict(one)}
        for reviewer, one in sorted(statements.items())
    ]


def _parsed(query: str) -> dict[str, str]:
    return dict(parse_qsl(query.removeprefix("?"), max_num_fields=100))
