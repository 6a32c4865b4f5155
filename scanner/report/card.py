"""A data sheet of a scan on one page of Markdown, for the card of a data set or a model.

It has counts, settings, figures with their limits, and commands, but no captions, keys or folders:
it is made to be published.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import scanner
from scanner.pages.markdown import block, code, table
from scanner.plurals import pluralize
from scanner.report.content import ReportContent
from scanner.run.json_files import flags_of
from scanner.run.verdicts import KINDS

_MOST_FILES = 5


def render_card(content: ReportContent, name: str) -> str:
    """Return the page; ``name``: of the training set."""
    lines = [
        f"# What a model has memorized of {code(name)}",
        "",
        *[f"- {' '.join(filter(None, (one.number, one.text)))}" for one in content.headline],
        "",
        *table(("", ""), [*_settings(content)]),
        "",
        "## What a policy removes",
        "",
        *_policy(content),
        "",
        "## How reliable this is",
        "",
        *_reliability(content),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in _limits(content)),
        "",
        "## How it was made",
        "",
        *block(_commands(content.record)),
        "",
        f"memscan {scanner.__version__}; versions: {code(_versions(content.record))}.",
    ]
    return "\n".join(lines) + "\n"


def _settings(content: ReportContent) -> Iterator[tuple[str, str]]:
    record, scanned, counts = content.record, content.scanned, content.counts
    model, made = record["model"], record["fingerprint"]
    revision = f" at {code(model['revision'])}" if model.get("revision") else ""
    lora = f", with the LoRA {code(_last(model['lora']))}" if model.get("lora") else ""
    yield "model", f"{code(_model(model['name']))}{revision}{lora}"
    yield "weights, SHA-256", code(model["weights"])
    profile = record["options"]["scoring"].get("profile", "")
    seeds, steps = pluralize(made["seeds"], "seed"), pluralize(made["steps"], "step")
    guidance = f"guidance {made['guidance']:g}"
    yield "settings", f"{code(profile)}, {seeds}, {steps}, {guidance}, {code(made['dtype'])}"
    yield "signals", ", ".join(map(code, made["signals"]))
    yield "training set", f"{pluralize(scanned.samples, 'sample')} in {code(_files(record))}"
    yield "distinct captions", f"{scanned.captions:,}, of which {scanned.scored:,} were scored"
    if scanned.references:
        yield "reference captions", f"{scanned.references:,}, not in the training set"
    of_rows = f"{counts['rejects']:,} of {pluralize(counts['rows'], 'row')}"
    yield "rejected", f"{of_rows}, {pluralize(counts['scan_rejects'], 'caption')}"
    yield "ranked by", code(content.signal)


def _policy(content: ReportContent) -> list[str]:
    policy = content.policy
    removed = f"{policy.removed:,} of {pluralize(policy.samples, 'sample')}"
    text = f"The policy {code(policy.policy)} removes {removed}"
    if policy.captions_removed:
        text += f", because of {pluralize(policy.captions_removed, 'caption')}"
        rate = policy.expected_false_discovery_rate
        if policy.reviewed_captions == policy.captions_removed:
            text += ", all of which people chose"
        elif rate is None or content.doubtful:
            text += "; how many of these are not memorized is unknown"
        else:
            people = policy.reviewed_captions
            chosen = f", not counting {people:,} that people chose," if people else ""
            text += f"; about {rate:.1%} of these{chosen} are expected not to be memorized"
    rules = [
        (
            code(rule.reason),
            code(without_words(rule.when)),
            rule.effect,
            f"{rule.captions:,}",
            f"{rule.removed:,}",
        )
        for rule in content.rules
    ]
    header = ("rule", "condition", "effect", "captions", "samples removed")
    return [f"{text}.", "", *table(header, rules)]


def _reliability(content: ReportContent) -> list[str]:
    lines: list[str] = []
    verified = [row for row in content.precision if row["compared"]]
    if verified:
        rows = [
            (
                f"{row['depth']:,}",
                f"{row['compared']:,}",
                f"{row['verbatim']:,}",
                f"{row['template']:,}",
                " to ".join(_share(row[end]) for end in ("precision_low", "precision_high")),
            )
            for row in verified
        ]
        header = ("top of the ranking", "compared", "verbatim", "template", "copies, 95 % interval")
        about = "Captions from which images were generated and compared with their training images:"
        lines += [about, "", *table(header, rows), ""]
    found = content.evaluation
    if found:
        without = {f"{score}, without the model": one for score, one in found["text_only"].items()}
        scores = {"combination": found["combination"], **found["signals"], **without}
        scored = [
            (
                code(score),
                f"{one['auc']:.3f} ({one['auc_low']:.3f} to {one['auc_high']:.3f})",
                _share(one["tpr_at"]["0.01"]),
            )
            for score, one in scores.items()
            if one
        ]
        labels = f"{found['captions']:,} labeled captions, {found['memorized']:,} of them memorized"
        lines += [f"The calibration, on {labels}, in {found['clusters']:,} clusters:", ""]
        lines += table(("score", "AUC, 95 % interval", "TPR at 1 % FPR"), scored)
    if not lines:
        lines = ["Not known: no caption was verified, and there is no calibration with labels."]
    return lines


def _limits(content: ReportContent) -> Iterator[str]:
    scanned, expected = content.scanned, content.expected
    yield "A score is not a verdict: it says how a model reacts to a caption, not that it copies."
    if scanned.unscored:
        causes = "; ".join(scanned.unscored)
        yield f"Captions without a score ({causes}) are not covered."
    if not content.verdicts.compared:
        yield "No image was generated, so nothing shows that a training image is reproduced."
    elif content.verdicts.compared < expected.scored:
        yield (
            f"Images were generated from {pluralize(content.verdicts.compared, 'caption')}, which "
            "need not be a random sample of the training set."
        )
    if expected.captions is None:
        yield "There is no calibration, so how many captions are memorized is unknown."
    elif content.doubtful:
        yield "The labels of the calibration differ in style, so its probabilities are doubtful."
    else:
        yield (
            f"The expected number of memorized captions, {expected.captions:,.0f} "
            f"({expected.low:,.0f} to {expected.high:,.0f}), holds if the calibration's "
            "probabilities hold for this training set."
        )
    yield "What only an image repeats, under different captions, may be missed."
    yield "Another model, or this one trained further, has memorized other samples."


def _commands(record: dict[str, Any]) -> list[str]:
    """Return the command of the scan, with the options that change what is scored and its scores;
    paths, runs and words of predicates are left out."""
    inputs, given = record["inputs"], flags_of(record["options"])
    names = [_last(url) for url in inputs.get("captions") or ()]
    words = ["memscan", "scan", "--captions", *(names if len(names) <= _MOST_FILES else ["FILES"])]
    if inputs.get("captions_from"):
        where = without_words(inputs["where"])
        words = ["memscan", "scan", "--captions-from", "EARLIER_RUN", "--where", where]
    if inputs.get("reference"):
        words += ["--reference", *map(_last, inputs["reference"])]
    columns = inputs.get("caption_column") or []
    if columns:
        words += ["--caption-column", *([columns] if isinstance(columns, str) else columns)]
    given |= {"model": _model(record["model"]["name"]), "lora": given.get("lora")}
    if given["lora"]:
        given["lora"] = _last(given["lora"])
    else:
        given.pop("lora_scale", None)
    if given.get("signals"):
        given.pop("profile", None)
    for name, value in given.items():
        if value is not None and (name, value) != ("dtype", "auto"):
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    if inputs.get("limit"):
        words += ["--limit", str(inputs["limit"])]
    return [shlex.join([*words, "--out", "RUN"])]


def without_words(predicate: str) -> str:
    """Return a SQL predicate with its texts replaced, which can be captions, but for verdicts."""

    def shown(match: re.Match[str]) -> str:
        return match[0] if match[0].strip("'") in KINDS else "'…'"

    return re.sub(r"'(?:[^']|'')*'?", shown, predicate)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _files(record: dict[str, Any]) -> str:
    """Return the names of the input files, without their folders."""
    names = [_last(url) for url in record["inputs"].get("captions") or ()] or ["an earlier run"]
    more = len(names) - _MOST_FILES
    return ", ".join(names[:_MOST_FILES]) + (f" and {more:,} more" if more > 0 else "")


def _model(name: str) -> str:
    """Return the id of a model on the hub, or the last part of another's path or URL: a run has
    local paths in full."""
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else _last(name)


def _last(location: str) -> str:
    return location.rstrip("/").rsplit("/", 1)[-1]


def _versions(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {one}" for name, one in record.get("versions", {}).items())
