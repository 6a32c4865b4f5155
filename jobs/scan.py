"""Score every distinct caption of a training set, and write the scores as Parquet tables.

Example: memscan scan --captions s3://bucket/laion/*.parquet --out s3://bucket/runs/laion-sd14

Exit status: 0 done; 1 failed; 2 invalid arguments; 3 done, but with captions quarantined or not
scanned (--budget-hours), files unreadable, or more rows rejected than --max-reject-fraction allows
(with --accept-rejects, only if captions have no score that a rerun can give them); 130 interrupted.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.console.early_checks import check_writable
from jobs.console.escaping import printable
from jobs.console.logs import LogOptions
from jobs.console.progress import ScanProgress, amount, duration, limited, samples_read
from jobs.console.run_log import messages_kept
from jobs.console.terminal import (
    command,
    load_libraries,
    next_step,
    print_json,
    print_rejects,
    print_skipped,
    show,
    warn,
)
from scanner.scan.config import ScanConfig
from scanner.scan.opening import open_scan
from scanner.scan.results import ScanResult


@dataclass(frozen=True)
class ScanCommand(ScanConfig, LogOptions):
    """What to scan, and how messages are written."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(ScanCommand, "scan", __doc__, scan_command, arguments)


def scan_command(config: ScanConfig) -> int:
    opened = open_scan(config)
    result = opened.result
    if result is None:
        check_writable("--out", config.out)
        load_libraries()  # loads them, which takes seconds
        if config.dry_run:
            from scanner.scan.dry_run import dry_run

            _print_dry_run(dry_run(opened), config.json)
            return 0
        from scanner.scan.scan import run_scan

        assert opened.run is not None, "only a dry run has no output"
        with messages_kept(opened.run), ScanProgress() as progress:
            result = run_scan(opened, progress)
    counts = result.manifest["counts"]
    if config.json:
        record = {"run": result.run, "counts": counts, "rejects": result.rejects}
        print_json(record | {"skipped": result.skipped, "complaints": result.complaints})
    else:
        show(f"{counts['scored']:,} captions scored into {result.run}{limited(config.limit)}")
        show(f"samples    {samples_read(counts)}")
        print_rejects(result.rejects)
        print_skipped(result.skipped)
        next_step("memscan", "rank", result.run)
    for complaint in result.complaints:
        warn(complaint)
    return exit_status(result, config.accept_rejects)


def exit_status(result: ScanResult, accept_rejects: bool) -> int:
    """Return 3 if something is missing from the result, else 0.

    ``accept_rejects``: 0 also if rerunning the command cannot change what is missing.
    """
    is_accepted = accept_rejects and not result.is_improvable
    return 3 if result.complaints and not is_accepted else 0


def _print_dry_run(result: dict, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    counts = result["counts"]
    pairs = counts.get("pairs", counts["rows"])
    of = f" of {pairs:,} captions of rows" if pairs > counts["rows"] else ""
    show(f"rows                 {counts['rows']:,} ({counts['rejects']:,}{of} rejected)")
    print_rejects(result["rejects"], 21)
    rejected_files = sum(file.get("unreadable", False) for file in result["inputs"])
    note = f" ({rejected_files:,} rejected, see above)" if rejected_files else ""
    show(f"files                {len(result['inputs']):,}{note}")
    print_skipped(result["skipped"], 21)
    show(f"samples              {samples_read(counts)}")
    show(
        f"distinct captions    {counts['captions']:,} in {result['slices']:,} slices"
        f"{limited(result['limit'])}"
    )
    for number, (name, captions) in enumerate(result["tiers"].items()):
        show(f"{'' if number else 'order':21}{captions:,} {printable(name)}")
    safe = ", as required" if result["preflight"].endswith("won") else ""
    show(f"store preflight      {result['preflight']}{safe}")
    show(f"signals              {', '.join(result['signals'])}")
    seeds = f"each of {result['seeds']} seeds" if result["seeds"] > 1 else "one seed"
    show(f"schedule             for {seeds}:")
    for line in result["schedule"]:
        show(f"                     {line}")
    show(
        f"cost per caption     {result['gflop_per_caption']:,.4g} GFLOP in the denoiser, "
        f"{result['gflop_text_encoder']:,.3g} in the text encoders "
        f"({result['text_encoder_share']:.0%}); "
        f"{result['gflop_shared']:,.4g} once, shared by all captions"
    )
    memory = result["memory"]
    for number, line in enumerate(filter(None, [*memory["lines"], memory["refusal"]])):
        show(f"{'' if number else 'memory':21}{line}")
    _print_speed(result, counts["captions"])
    if result["gpu_estimate"]:
        _print_gpu_estimate(result["gpu_estimate"])


def _print_speed(result: dict, captions: int) -> None:
    if result["not_measured"]:
        show(f"speed                not measured: {result['not_measured']}")
        return
    low, high = (result[f"captions_per_second_{end}"] for end in ("low", "high"))
    tried = (
        "extrapolated from a cheaper profile" if result["guessed"] else "measured for seconds"
    ) + f", batches of {result['batch_size']:,}"
    show(f"speed                {_rough(low)} to {_rough(high)} captions per second ({tried})")
    quick, slow = (duration(captions / rate) for rate in (high, low))
    show(f"time                 {quick} to {slow}, plus the time to start Ray and load the model")


def _print_gpu_estimate(one: dict) -> None:
    if not one["fits"]:
        show(f"on one {one['gpu'] + ':':14}does not fit, see memory")
        return
    low, high = (_rough(one[f"captions_per_second_{end}"]) for end in ("low", "high"))
    hours = [_rough(one[f"hours_{end}"]) for end in ("low", "high")]
    show(
        f"on one {one['gpu'] + ':':14}{_range(hours)} GPU-hours, at {_range([low, high])} captions "
        f"per second (peak {one['peak_tflops']:g} TFLOP/s in float16), in batches of up to "
        f"{one['largest_batch']:,} ({one['memory_gib']} GiB)"
    )
    if one["cost_low"] is not None:
        costs = [amount(one[f"cost_{end}"]) for end in ("low", "high")]
        show(f"cost                 {_range(costs)}, in the currency of --price")
    show(f"assumption           {one['assumption']}")
    if one["is_offloaded"]:
        show(f"{'':21}weights in host memory, see above, take longer than this estimate")


def _range(ends: list[str]) -> str:
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _rough(number: float) -> str:
    """Return a number rounded to two digits."""
    return f"{float(f'{number:.2g}'):,g}"


if __name__ == "__main__":
    sys.exit(main())
