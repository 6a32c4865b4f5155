"""Render a replication as one HTML file."""

from pathlib import Path

from scanner.calibration import evaluation_record, labels_differ_in_style
from scanner.pages import THEMED, render
from scanner.query import COMBINATION
from scanner.replication.charts import replication_charts, side_name
from scanner.replication.kits import kits
from scanner.replication.published import published
from scanner.replication.results import ReplicationResults
from scanner.replication.sweeping import SweepPoint
from scanner.run.verdicts import COPIES

TEMPLATE = Path(__file__).with_name("page.html.j2")


def render_page(results: ReplicationResults, command: str) -> str:
    """Render one self-contained page. ``command``: shown as what created it."""
    kit = results.config.kit
    signals = sorted(
        results.signals.items(), key=lambda item: item[1].signals[item[0]].auc, reverse=True
    )
    return render(
        TEMPLATE,
        results=results,
        kit=kit,
        truth=results.scanned.truth,
        files=results.scanned.files,
        weights=results.scanned.files.weights_hash(),
        published=published(),
        of_published_model=kit.name == published().model,
        published_title=kits()[published().model].title,
        signals=signals,
        classes=_classes(results),
        charts=replication_charts(results, THEMED),
        side_name=side_name,
        sides=list(dict.fromkeys(point.side for point in results.points)),
        sweep=_by_timestep(results),
        gflop={point.side: point.gflop for point in results.points},
        differ_in_style=_differ_in_style(results),
        combination=COMBINATION,
        command=command,
    )


def _by_timestep(results: ReplicationResults) -> dict[int, dict[float, SweepPoint]]:
    """Return the points of the sweep by timestep, noisiest first, and side."""
    table: dict[int, dict[float, SweepPoint]] = {}
    for point in results.points:
        table.setdefault(point.timestep, {})[point.side] = point
    return table


def _classes(results: ReplicationResults) -> list[str]:
    """Return the classes of copies that are measured apart."""
    return [
        kind
        for kind in COPIES
        if any(
            kind in one.classes and one.classes[kind].separations for one in results.measurements
        )
    ]


def _differ_in_style(results: ReplicationResults) -> bool:
    """Whether text features alone separate the prompts as well as every profile's signals do."""
    fitted = [one.evaluation for one in results.profiles if one.evaluation]
    records = [evaluation_record(one) for one in fitted]
    return bool(records) and all(map(labels_differ_in_style, records))
