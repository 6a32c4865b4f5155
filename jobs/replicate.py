"""Repeat published evaluations of detectors on a model, and write one page.

Fetches weights and public prompt lists, refuses changed ones by hash, scans the prompts with every
profile at three latent sides, sweeps the timestep of the noise norm, and shows measured AUC and
rates beside published ones. Also writes calibrations for the model. testbed and testbed-dit need
no network.

Example: memscan replicate sd14 --out replication-sd14 --dry-run
"""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.console.calibration_output import print_heading, print_separations
from jobs.console.progress import ScanProgress, duration
from jobs.console.terminal import command, load_libraries, print_json, show, warn
from scanner.replication.config import ReplicateConfig

if TYPE_CHECKING:
    from scanner.replication.estimating import Estimate
    from scanner.replication.results import ReplicationResults


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    made_by = shlex.join(["memscan", "replicate", *words])
    return command(
        ReplicateConfig, "replicate", __doc__, lambda config: _replicate(config, made_by), words
    )


def _replicate(config: ReplicateConfig, made_by: str) -> int:
    config.check()
    load_libraries()
    if config.dry_run:
        from scanner.replication.estimating import estimate

        estimated = estimate(config)
        if config.json:
            print_json({"model": config.model, **estimated.to_json()})
        else:
            _print_estimate(config, estimated)
        return 0
    from scanner.replication.replicating import replicate
    from scanner.replication.results import results_record

    with ScanProgress() as progress:
        results = replicate(config, progress, made_by)
    if config.json:
        print_json(results_record(results))
    else:
        _print_results(results)
    for complaint in results.scanned.complaints:
        warn(complaint)
    return 3 if results.scanned.complaints else 0


def _print_estimate(config: ReplicateConfig, estimated: "Estimate") -> None:
    low, high = (duration(3600 * hours) for hours in estimated.hours)
    show(f"prompts      {estimated.prompts:,}")
    show(f"on one {estimated.gpu + ':':6}{low} to {high} in {len(estimated.scans)} scans")
    show(f"assumption   {estimated.assumption}")
    if estimated.bytes:
        show(
            f"download     {estimated.bytes / 1e9:.1f} GB of weights in float32 "
            f"({config.weights or config.kit.model}), unless they are in the hub's cache"
        )
        show(f"             prompt lists under 1 MiB each: {', '.join(estimated.lists)}")
    else:
        show("download     nothing")
    show(f"\n{'scan':26}{'GFLOP per prompt':>16}{'time on one ' + estimated.gpu:>22}")
    for one in estimated.scans:
        low, high = (duration(3600 * hours) for hours in (one.hours_low, one.hours_high))
        gflop = (
            f"{one.gflop_per_caption:,.0f}"
            if one.gflop_per_caption >= 10
            else f"{one.gflop_per_caption:.2g}"
        )
        show(f"  {one.name:24}{gflop:>16}{f'{low} to {high}':>22}")


def _print_results(results: "ReplicationResults") -> None:
    truth = results.scanned.truth
    show(
        f"\n{len(truth.table):,} prompts, {truth.memorized:,} memorized, in {results.clusters:,} "
        "clusters of near-duplicates\n"
    )
    for line in results.deviations:
        show(f"deviation: {line}")
    print_heading()
    print_separations(
        "signals at the model's own side",
        {name: one.signals[name] for name, one in results.signals.items()},
    )
    print_separations("text alone", results.text_only)
    show(f"\n{'published':32}{'AUC':>18}{'TPR at 1 % FPR':>20}   deviation")
    for row in results.comparisons:
        auc, rate = f"{row.figure.auc:.3f}, here –", f"{row.figure.tpr:.3f}, here –"
        if row.separation:
            auc = f"{row.figure.auc:.3f}, here {row.separation.auc:.3f}"
            rate = f"{row.figure.tpr:.3f}, here {row.separation.at_fpr[0.01].tpr:.3f}"
        name = f"{row.figure.signal}, seeds: {row.figure.seeds}"
        show(f"  {name:30}{auc:>18}{rate:>20}   {row.deviation}")
    for one in results.findings:
        gain = f"{one.gain.auc:+.3f} ({one.gain.low:+.3f} to {one.gain.high:+.3f})"
        show(
            f"timestep {one.low} at {one.side:g} of the side, against timestep {one.first} at the "
            f"whole: AUC {gain}, better: {one.verdict}"
        )
    show(f"\npage         {results.page}")
    for profile, file in results.calibrations.items():
        show(f"calibration  {file} ({profile})")


if __name__ == "__main__":
    sys.exit(main())
