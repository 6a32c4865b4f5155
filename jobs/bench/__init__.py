"""Speed and FLOPs of each profile, measured on this machine against plain forwards, in one run.

Every round runs all ways one after another on the same captions; a speedup is the median over the
rounds of the ratio within a round, so that a drift of the machine's speed cancels. Examples:

memscan bench --model testbed
memscan bench --model sd14-random --rounds 3 --batch-size 2
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.terminal import parse, print_json, print_table, quiet_libraries, run

MODELS = ("testbed", "sd14-random")


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, and how often."""

    model: tuple[str, ...] = MODELS
    """testbed, sd14-random (Stable Diffusion 1.4's architecture at 512 px with random weights), or
    any model that scan takes."""
    batch_size: int | None = None
    """Captions a forward; by default 32 for testbed and 2 for others."""
    rounds: int | None = None
    """How often everything is measured; by default 7 for testbed and 3 for others."""
    json: bool = False
    """Print as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module's text."""

    def body() -> int:
        words = sys.argv[1:] if arguments is None else arguments
        config = parse(BenchConfig, "bench", str(__doc__), words)
        from jobs.bench.model import measure

        quiet_libraries()
        found = [
            measure(
                name,
                config.batch_size or (32 if name == "testbed" else 2),
                config.rounds or (7 if name == "testbed" else 3),
            )
            for name in config.model
        ]
        if config.json:
            print_json(found[0] if len(found) == 1 else found)
        else:
            for one in found:
                _print(one)
        return 0

    return run(body)


def _print(found: dict[str, Any]) -> None:
    print(
        f"\n{found['model']}: batches of {found['batch_size']}, {found['rounds']} rounds; a plain "
        f"U-Net forward is {found['gflop_forward']:,.4g} GFLOP, the text encoder "
        f"{found['gflop_text_encoder']:,.3g}\n"
    )
    rows = [
        {
            "profile": name,
            "GFLOP a caption": one["gflop_per_caption"],
            "captions/s": one["captions_per_second"],
            "× guided pair": one["speedup_over_guided_pair"],
            "× seed's code": one["speedup_over_seed"],
            "probe overhead": one["overhead_over_bare_forward"],
            "peak GiB": one["peak_memory_bytes"] / 2**30,
        }
        for name, one in found["profiles"].items()
    ]
    print_table(rows, list(rows[0]))
    for note in found["notes"]:
        print(note)
