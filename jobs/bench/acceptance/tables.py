"""Format an acceptance run as Markdown tables, one per part."""

from collections.abc import Callable, Iterable
from typing import Any

from jobs.bench.acceptance.worker import PartOutcome

Values = dict[str, Any]


def lines(name: str, outcome: PartOutcome) -> list[str]:
    """Return a part's heading and, if it passed, its tables."""
    head = f"{name}: {outcome.status} in {outcome.seconds:.1f} s"
    if outcome.reason:
        return ["", f"{head}: {outcome.reason}"]
    return ["", head, *SHOWN.get(name, _scalars)(outcome.values)]


def _scalars(values: Values) -> list[str]:
    """Format one value per line, nested ones by path."""
    return [f"  {path}: {_number(value)}" for path, value in _flat(values)]


def _flat(values: Values, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _differences(values: Values) -> list[str]:
    columns = ("max_absolute", "max_relative", "max_in_deviations", "rms_in_deviations")
    rows = [
        [signal, kind, *(each[column] for column in columns)]
        for signal, kinds in values["signals"].items()
        for kind, each in kinds.items()
    ]
    table = markdown(["signal", "against", "max abs", "max rel", "max (sd)", "rms (sd)"], rows)
    return table + _scalars({name: each for name, each in values.items() if name != "signals"})


def _throughput(values: Values) -> list[str]:
    columns = {
        "captions/s": "captions_per_second",
        "GFLOP per caption": "gflop_per_caption",
        "TFLOP/s": "tflops",
        "% of published": "percent_of_published",
        "% of matmul": "percent_of_measured_matmul",
        "µs reading": "microseconds_per_caption_reading",
        "µs table": "microseconds_per_caption_table",
    }
    rows = [
        [profile, dtype, *(each[name] for name in columns.values()), _mib(each)]
        for profile, dtypes in values["profiles"].items()
        for dtype, each in dtypes.items()
    ]
    plan = [f"  {profile}: {line}" for profile, all_ in values["schedule"].items() for line in all_]
    return [*markdown(["profile", "dtype", *columns, "peak MiB"], rows), *plan]


def _sizes(values: Values) -> list[str]:
    rows = [
        [profile, size, each["captions_per_second"], _mib(each)]
        for profile in ("triage", "standard")
        for size, each in values.get(profile, {}).items()
    ]
    ended = [f"  {values['ended']}"] if "ended" in values else []
    return markdown(["profile", "batch size", "captions/s", "peak MiB"], rows) + ended


def _overhead(values: Values) -> list[str]:
    dtypes = {name: each for name, each in values.items() if isinstance(each, dict)}
    rows = [
        [dtype, name, each["captions_per_second"], each["tflops"]]
        for dtype, forwards in dtypes.items()
        for name, each in forwards.items()
        if isinstance(each, dict)
    ]
    shares = [f"  {dtype}: probe overhead {w['probe_overhead']:.1%}" for dtype, w in dtypes.items()]
    return [*markdown(["dtype", "forward", "captions/s", "TFLOP/s"], rows), *shares]


def _kernels(values: Values) -> list[str]:
    formatted = []
    for profile, each in values.items():
        counts = {name: value for name, value in each.items() if name != "kernels"}
        formatted += [f"  {profile}.{line.strip()}" for line in _scalars(counts)]
        rows = [[k["name"], k["calls"], k["milliseconds"], k["percent"]] for k in each["kernels"]]
        formatted += markdown(["kernel", "calls", "ms", "%"], rows)
    return formatted


def _fused(values: Values) -> list[str]:
    formatted = []
    for dtype, each in values.items():
        if isinstance(each, dict):
            scalars = {name: value for name, value in each.items() if name != "layers"}
            formatted += [f"  {dtype}.{line.strip()}" for line in _scalars(scalars)]
            formatted += markdown(
                list(each["layers"][0]), [list(row.values()) for row in each["layers"]]
            )
    return formatted


SHOWN: dict[str, Callable[[Values], list[str]]] = {
    "parity": _differences,
    "precision": _differences,
    "memory": _differences,
    "compiled_triage": _differences,
    "compiled_standard": _differences,
    "throughput": _throughput,
    "overhead": _overhead,
    "fused": _fused,
    "sizes": _sizes,
    "kernels": _kernels,
}


def markdown(head: list[str], rows: list[list[Any]]) -> list[str]:
    """Return a Markdown table with numbers of three significant digits."""
    cells = [head, ["---"] * len(head), *([_number(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(row) + " |" for row in cells]


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def _mib(values: Values) -> float | None:
    held = values["peak_memory_bytes"]
    return None if held is None else held / 2**20
