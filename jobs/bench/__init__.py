"""Measure speed and FLOPs on this machine, against a baseline in the same run.

Parts: --model times each profile against plain forwards; --pipeline everything in a scan except the
forwards; --planning reading and grouping of captions; --sql named queries on a large run. By
default all four. Each round runs every variant in turn on the same input; a speedup is the median
over rounds of the ratio within a round, which cancels drift in the machine's speed.

With --review, times the pages of memscan review under load. With --joint-attention, measures what
recording joint attention costs on full-width blocks of Stable Diffusion 3; with --samples,
score-samples; with --index, index-images and the search. With --acceptance, measures a new kind of
device in under 8 minutes: agreement of scores with the CPU, speed of every profile and its share of
the device's peak, memory, two processes per device.

Examples: memscan bench --model testbed
          memscan bench --model sd14-random --rounds 3 --batch-size 2
          memscan bench --pipeline --captions 1000000
          memscan bench --planning --rows 20000000
          memscan bench --sql
          memscan bench --index
          memscan bench --review
          memscan bench --acceptance --json > acceptance.json
"""

import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.console.tables import print_table
from jobs.console.terminal import command, load_libraries, print_json, show
from scanner.errors import UsageError

log = logging.getLogger("memscan")

MODELS = ("testbed", "sd14-random")
ALONE = ("joint_attention", "samples", "index", "review")


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, and how many rounds."""

    model: tuple[str, ...] = ()
    """Time the profiles of these models: testbed, sd14-random (Stable Diffusion 1.4's architecture
    at 512 px with random weights), or any model that scan takes."""
    pipeline: bool = False
    """Time scans with precomputed scores, scans without the U-Net, and scans of the testbed model
    against plain processes without Ray; also measure the memory of driver and actors."""
    captions: int = 200_000
    """Distinct captions in each of the first two scans of --pipeline."""
    planning: bool = False
    """Time planning in one process, on parquet files in which every caption occurs twice: rows per
    second, memory, and how much longer it takes with image keys; also count its storage requests at
    two sizes, and time Ray Data's hash aggregation of the same files for comparison (if ray[data]
    is installed)."""
    rows: int = 2_000_000
    """Rows to plan in --planning, in 20 files; requests are also counted at a quarter of them."""
    sql: bool = False
    """Time named queries on a synthetic run, within 8 GiB, against plain reads of the same
    columns."""
    review: bool = False
    """Time the pages of memscan review on a synthetic run, loaded by 20 reviewers at once, and its
    search against a scan by DuckDB."""
    scores: int = 10_000_000
    """Score rows in the synthetic run for --sql and --review, in 100 parts."""
    folder: Path | None = None
    """Directory that keeps the synthetic run for --sql and --review; by default a temporary one
    (2 GB, and 4 GB for the index of --review)."""
    batch_size: int | None = None
    """Captions per forward; by default 32 for testbed and 2 for others."""
    rounds: int | None = None
    """Number of rounds; by default 7 for testbed and 3 for others."""
    joint_attention: bool = False
    """Time two full-width blocks of Stable Diffusion 3 at 512 px with random weights, with and
    without recording their attention; count the operations of the recording."""
    samples: bool = False
    """Time the scoring of samples on the testbed; count its FLOPs for Stable Diffusion 1.4."""
    index: bool = False
    """Time indexing images with the built-in descriptor on two cores, and the exact search of an
    index of random vectors against a plain read of the same Parquet files."""
    acceptance: bool = False
    """Measure a new kind of device, in parts: device, parity, precision, memory, throughput,
    overhead, fused, kernels, mitigation, sizes, compiled_triage, compiled_standard, sharing,
    compiled_forward. If a part fails, its error is printed, the others still run, and the exit
    status is 1."""
    only: tuple[str, ...] = ()
    """Parts of --acceptance to run, such as parity,throughput; all by default."""
    device: str = "auto"
    """Device for --acceptance: cuda, cpu, or auto (cuda if available)."""
    dtype: tuple[str, ...] = ()
    """Dtypes for --acceptance, separated by commas: float16, bfloat16, float32; by default float16
    and bfloat16 on cuda, float32 on the CPU."""
    parity_captions: int = 64
    """Captions whose scores --acceptance compares with those of the CPU."""
    time_limit: float = 440.0
    """Do not start another part of --acceptance after this many seconds."""
    json: bool = False
    """Print as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(BenchConfig, "bench", __doc__, _bench, arguments)


def _bench(config: BenchConfig) -> int:
    if config.acceptance:
        return _accept(config)
    load_libraries()
    alone = (config.joint_attention, config.samples, config.index, config.review)
    for part, is_given in zip(ALONE, alone, strict=True):
        if is_given:
            return _measure_alone(part, config)
    chosen = parts(config)
    models = (config.model or MODELS) if "model" in chosen else ()
    measured = {name: _measure_model(name, config) for name in models}
    record: dict[str, Any] = {}
    if len(measured) == 1:
        record |= next(iter(measured.values()))
    elif measured:
        record["models"] = measured
    sizes: dict[str, tuple[Any, ...]] = {
        "pipeline": (config.captions,),
        "planning": (config.rows,),
        "sql": (config.scores, config.rounds or 3, config.folder),
    }
    for part in (name for name in sizes if name in chosen):
        record[part] = importlib.import_module(f"jobs.bench.{part}").measure(*sizes[part])
    if config.json:
        print_json(record)
        return 0
    for one in measured.values():
        _print_model(one)
    if "pipeline" in record:
        _print_pipeline(record["pipeline"])
    if "planning" in record:
        from jobs.bench import planning

        planning.show_figures(record["planning"])
    if "sql" in record:
        from jobs.bench import sql

        sql.show_figures(record["sql"], config.scores)
    return 0


def _accept(config: BenchConfig) -> int:
    from jobs.bench.acceptance.run import accept, failures, options_of
    from jobs.bench.acceptance.tables import lines
    from jobs.bench.acceptance.worker import PartOutcome

    if len(config.model) > 1:
        raise UsageError("--acceptance takes one --model: run it once per model")
    options = options_of(
        next(iter(config.model), None),
        config.device,
        config.dtype,
        config.parity_captions,
        config.batch_size,
    )
    output = log.info if config.json else show

    def report(name: str, outcome: PartOutcome) -> None:
        for line in lines(name, outcome):
            output(line)

    record = accept(config.only, options, config.time_limit, report)
    if config.json:
        print_json(record)
    return 1 if failures(record) else 0


def parts(config: BenchConfig) -> set[str]:
    """Return the parts to measure: those given as flags, or all of them."""
    flags = {"model": bool(config.model)}
    flags |= {part: getattr(config, part) for part in ("pipeline", "planning", "sql")}
    return {part for part, is_given in flags.items() if is_given} or set(flags)


def _measure_alone(part: str, config: BenchConfig) -> int:
    module = importlib.import_module(f"jobs.bench.{part}")
    sizes = (config.scores, config.folder) if part == "review" else (config.rounds or 7,)
    figures = module.measure(*sizes)
    print_json(figures) if config.json else show("\n".join(module.lines(figures)))
    return 0


def _measure_model(name: str, config: BenchConfig) -> dict[str, Any]:
    from jobs.bench.model import measure

    return measure(
        name,
        config.batch_size or (32 if name == "testbed" else 2),
        config.rounds or (7 if name == "testbed" else 3),
    )


def _print_pipeline(figures: dict[str, Any]) -> None:
    show(f"\npipeline: {figures['captions']:,} distinct captions, {figures['actors']} actors\n")
    for stub, what in (("ready_table", "precomputed scores"), ("stub_unet", "without the U-Net")):
        seconds = figures[f"seconds_{stub}"]
        show(
            f"{what + ':':22}{figures[f'captions_per_second_{stub}']:,.0f} captions/s "
            f"({seconds['planning']:.1f} s of planning, {seconds['scanning']:.1f} s of scanning)"
        )
        for who, held in figures[f"memory_{stub}"].items():
            sizes = ", ".join(f"{at} {size / 2**20:,.0f}" for at, size in held.items())
            show(f"  resident MiB of {who}: {sizes}")
    show(
        f"testbed, two actors:  {figures['captions_per_second_two_actors']:,.0f} captions/s, "
        f"{figures['actor_busy_fraction']:.1%} of their time in forwards, "
        f"{figures['two_actors_over_two_bare']:.2f} of two plain processes"
    )


def _print_model(figures: dict[str, Any]) -> None:
    show(
        f"\n{figures['model']}: batches of {figures['batch_size']}, {figures['rounds']} rounds; a "
        f"plain forward of the denoiser is {figures['gflop_forward']:,.4g} GFLOP, the text encoder "
        f"{figures['gflop_text_encoder']:,.3g}; ×: speed relative to one guided step of the stock "
        "pipeline (2 forwards), and to the code of Ren et al.\n"
    )
    rows = [
        {
            "profile": name,
            "GFLOP per caption": one["gflop_per_caption"],
            "captions/s": one["captions_per_second"],
            "× guided step": one["speedup_over_guided_pair"],
            "× Ren et al.": one["speedup_over_seed"],
            "probe overhead": one["overhead_over_bare_forward"],
            "peak GiB": one["peak_memory_bytes"] / 2**30,
            "launches": one["launches_per_batch"],
            "copies": one["host_copies_per_batch"],
        }
        for name, one in figures["profiles"].items()
    ]
    print_table(rows, list(rows[0]))
    for note in figures["notes"]:
        show(note)
    sizes = {k: v["gflop_by_size"] for k, v in figures["profiles"].items()}
    _print_sizes(figures["model"], {**sizes, "all": figures["gflop_by_size_all"]})
    if "gflop_by_size_sdxl" in figures:
        _print_sizes("Stable Diffusion XL", figures["gflop_by_size_sdxl"])
    if "gflop_by_size_sd3" in figures:
        _print_sizes("Stable Diffusion 3", figures["gflop_by_size_sd3"])


def _print_sizes(model: str, gflop: dict[str, dict[str, float]]) -> None:
    show(f"\n{model}: GFLOP per caption by --height and --width, without the text encoder\n")
    sides = list(gflop["standard"])
    rows = [
        {"profile": name, **{f"{side} px": by_size.get(side) for side in sides}}
        for name, by_size in gflop.items()
    ]
    print_table(rows, list(rows[0]))
