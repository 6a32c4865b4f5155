"""memscan: find what a text-to-image model has memorized from its training set."""

import contextlib
import difflib
import importlib
import sys

COMMANDS = {
    "demo": "run the whole pipeline on the small model in this package",
    "scan": "score the captions of a training set on all available devices",
    "status": "show the progress and problems of a scan",
    "rank": "list captions, most likely memorized first",
    "index_images": "index the images of a training set, for exact search",
    "find_image": "find the training images nearest to an image",
    "verify": "generate images from top-ranked captions and detect copies",
    "score_samples": "score the images of samples, to tell which the model knows",
    "group_images": "group the images of samples that are the same",
    "calibrate": "fit a calibration on labels, or select captions at a given FDR",
    "review": "decide about captions in a browser: labels and actions",
    "curate": "apply a policy: write a removal list and cleaned shards",
    "purge": "remove taken-down samples and captions from a run",
    "report": "write a report about a run as one HTML page",
    "card": "write a data sheet of a scan in Markdown, to publish",
    "sql": "query a run with SQL",
    "explain": "explain one caption: attention, scores and trigger words",
    "replicate": "repeat published evaluations of detectors on a model",
    "finetune": "fine-tune a model, optionally guarded against memorization",
    "bench": "measure speed and FLOPs on this machine",
}


def usage() -> str:
    lines = [str(__doc__), "usage: memscan COMMAND …", "", "Commands, in typical order:", ""]
    lines += [f"  {name.replace('_', '-'):18}{purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join([*lines, "", "memscan COMMAND --help documents the options of a command."])


def main() -> int:
    """Run the console script. Exit codes: 0 done, 1 failed, 2 invalid arguments, 3 done with
    losses, 130 stopped by Ctrl-C or SIGTERM."""
    try:
        return _run()
    except KeyboardInterrupt:  # while this was imported
        print("memscan: stopped", file=sys.stderr)
        return 130


def _run() -> int:
    from jobs.console.heartbeat import heartbeat
    from jobs.console.terminal import run

    words = sys.argv[1:]
    is_help = not {"-h", "--help"}.isdisjoint(words)
    with contextlib.nullcontext() if is_help else heartbeat(words[0] if words else "memscan"):
        status = run(_main)
    if "ray" in sys.modules:
        # Shut down here: at exit, Ray would report an impatient Ctrl-C as an error.
        with contextlib.suppress(KeyboardInterrupt):
            sys.modules["ray"].shutdown()
    return status


def _main() -> int:
    import scanner
    from jobs.console.terminal import complain, show

    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        show(usage())
        return 0 if len(sys.argv) > 1 else 2
    if sys.argv[1] == "--version":
        show(f"memscan {scanner.__version__}")
        return 0
    command = sys.argv[1].replace("-", "_")
    if command not in COMMANDS:
        alike = difflib.get_close_matches(sys.argv[1], [n.replace("_", "-") for n in COMMANDS], 1)
        meant = f"; did you mean {alike[0]}?" if alike else ""
        print(f"{usage()}\n", file=sys.stderr)
        complain(f"no command {sys.argv[1]!r}{meant}")
        return 2
    status: int = importlib.import_module(f"jobs.{command}").main(sys.argv[2:])
    return status


if __name__ == "__main__":
    sys.exit(main())
