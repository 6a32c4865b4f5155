"""memscan: find training images and captions that a text-to-image model has memorized."""

import contextlib
import difflib
import importlib
import sys

import scanner
from jobs.terminal import complain, run, show

COMMANDS = {
    "demo": "scan, evaluate and rank with the small built-in model",
    "scan": "score the captions of a training set",
    "status": "show a scan's progress and problems",
    "rank": "rank captions, most likely memorized first",
    "verify": "generate images for the top captions and find copies",
    "calibrate": "fit probabilities, thresholds and error rates",
    "curate": "write a removal list, and cleaned copies of the shards",
    "report": "write an HTML page about a run",
    "sql": "query a run with SQL",
    "explain": "show where a model attends for one caption",
    "finetune": "fine-tune a model with a guard against memorization",
    "bench": "measure speed and FLOPs on this machine",
}


def usage() -> str:
    lines = [str(__doc__), "usage: memscan COMMAND …, usually in this order", ""]
    lines += [f"  {name.replace('_', '-'):18}{purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join([*lines, "", "memscan COMMAND --help shows a command's options."])


def main() -> int:
    """Run the console script and return its exit code.

    0: success; 1: failure; 2: invalid arguments; 3: finished with losses; 130: stopped by Ctrl-C or
    SIGTERM.
    """
    status = run(_main)
    if "ray" in sys.modules:
        # At exit, a second Ctrl-C would be reported as an error of Ray.
        with contextlib.suppress(KeyboardInterrupt):
            sys.modules["ray"].shutdown()
    return status


def _main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        show(usage())
        return 0 if len(sys.argv) > 1 else 2
    if sys.argv[1] == "--version":
        show(f"memscan {scanner.__version__}")
        return 0
    command = sys.argv[1].replace("-", "_")
    if command not in COMMANDS:
        names = [name.replace("_", "-") for name in COMMANDS]
        similar = difflib.get_close_matches(sys.argv[1], names, 1)
        suggestion = f"; did you mean {similar[0]}?" if similar else ""
        print(f"{usage()}\n", file=sys.stderr)
        complain(f"no command {sys.argv[1]!r}{suggestion}")
        return 2
    status: int = importlib.import_module(f"jobs.{command}").main(sys.argv[2:])
    return status


if __name__ == "__main__":
    sys.exit(main())
