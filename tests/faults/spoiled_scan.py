"""``memscan scan`` whose actors fail as tokens in the folder FAULT_TOKENS say.

A token ``bad`` or ``cold`` is claimed by the node of the first actor that sees it: a bad one's
device is broken for every slice, a cold one cannot start an actor, until the claim is removed. A
token ``slow-N`` makes one slice take long, with signs of life.
"""

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray

from jobs.scan import main
from scanner.cluster import BrokenDevice, Execution, Result, RetryLimits, report
from scanner.run import Slice
from scanner.scan import scan
from scanner.scan.preparation import PreparedScan
from scanner.scan.score_plan import score_plan
from scanner.scan.work import ScanWork

HANG_SECONDS = 20.0
SLOW_SECONDS = 30.0


@dataclass(frozen=True)
class SpoiledWork:
    work: ScanWork
    tokens: str

    def __call__(self) -> "_Spoiled":
        spoiled = _Spoiled(None, Path(self.tokens), ray.get_runtime_context().get_node_id())
        if spoiled.claims("cold"):
            raise OSError("no space left for the model")
        spoiled.made = self.work()
        return spoiled


@dataclass
class _Spoiled:
    made: Any
    tokens: Path
    node: str

    def claims(self, fault: str) -> bool:
        """Whether this node has a fault; takes it if it is offered."""
        claim = self.tokens / f"{fault}-{self.node}"
        with contextlib.suppress(FileNotFoundError):
            (self.tokens / fault).rename(claim)
        return claim.exists()

    @property
    def environment(self) -> dict[str, str]:
        return self.made.environment

    def prove(self) -> None:
        self.made.prove()

    def prepare(self, item: Slice) -> Any:
        return self.made.prepare(item)

    def compute(self, prepared: Any) -> Any:
        if self.claims("bad"):
            raise BrokenDevice("CUDA error: uncorrectable ECC error encountered")
        for token in self.tokens.glob("slow-*"):
            token.unlink(missing_ok=True)
            for second in range(int(SLOW_SECONDS)):
                report(second)
                time.sleep(1)
            break
        return self.made.compute(prepared)

    def finish(self, computed: Any) -> Result:
        return self.made.finish(computed)


if __name__ == "__main__":
    # By the module's name, which the actors can import, not by __main__.
    from tests.faults import spoiled_scan

    make, tokens = PreparedScan.work, os.environ["FAULT_TOKENS"]
    spoil = spoiled_scan.SpoiledWork
    PreparedScan.work = lambda self, store: spoil(make(self, store), tokens)  # type: ignore
    execution = Execution(limits=RetryLimits(hang_seconds=HANG_SECONDS))
    scan.score_plan = partial(score_plan, execution=execution)  # type: ignore
    sys.exit(main())
