"""Print what memscan calibrate computed, as tables for people."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jobs.console.terminal import show

if TYPE_CHECKING:
    from scanner.calibration import (
        ClassEvaluation,
        Discovery,
        FdrCheck,
        FdrOutcome,
        LabelEvaluation,
        Separation,
        SimilarityEvaluation,
    )
    from scanner.calibration.evaluation.similarity import AtThreshold
    from scanner.query import Calibration


RESOLVED = 100
"""Clusters of captions that are not memorized from which a rate of 1 % means something."""


def print_heading() -> None:
    show(f"{'':26}{'AUC':>6}  {'95 % interval':>14}  {'TPR at':>7} 0.1 %   1 %   3 % FPR")


def print_separation(name: str, separation: "Separation") -> None:
    from scanner.calibration import FPRS

    interval = f"{separation.auc_low:.3f} – {separation.auc_high:.3f}"
    points = separation.at_fpr
    tprs = "".join(f"{points[fpr].tpr:6.3f}" if fpr in points else f"{'–':>6}" for fpr in FPRS)
    show(f"  {name:24}{separation.auc:6.3f}  {interval:>14}         {tprs}")


def print_separations(title: str, group: "dict[str, Separation]") -> None:
    show(title)
    for name, separation in group.items():
        print_separation(name, separation)


def print_tables(evaluation: "LabelEvaluation") -> None:
    """Print how well each score separates the captions, also by class."""
    print_heading()
    print_separations("signals", evaluation.signals)
    print_separations("combined, cross-validated by near-duplicate cluster", evaluation.combined)
    print_separations("baselines without the model", evaluation.text_only)
    if sentence := in_words(evaluation):
        show(sentence)
    print_classes(evaluation)


def print_evaluation(evaluation: "LabelEvaluation", prior_given: bool) -> None:
    """Print the evaluation on labels. ``prior_given``: the user set the prior."""
    show("")
    print_tables(evaluation)
    if evaluation.similarity:
        _print_similarity(evaluation.similarity)
    show("AUC gained by the combination over")
    for name, gain in evaluation.gains.items():
        show(f"  {name:24}{gain.auc:+6.3f}  {gain.low:+.3f} – {gain.high:+.3f}")
    source = "as given" if prior_given else "the share of the labels; change it with --prevalence"
    show(f"\nprobabilities if {evaluation.prior:.2%} of the captions are memorized ({source})")
    show(f"  {'from – to':14}{'captions':>9}{'predicted':>11}{'memorized':>11}")
    for row in evaluation.reliability:
        edges = f"{row.low:.2f} – {row.high:.2f}"
        show(f"  {edges:14}{row.captions:9,}{row.predicted:11.3f}{row.observed:11.3f}")
    for name, checks in evaluation.fdr_checks.items():
        _print_fdr_checks(name, evaluation.references, checks)


def in_words(evaluation: "LabelEvaluation") -> str:
    """Return what the combination and the best signal separate, as a sentence; "" without signals,
    or with too few captions that are not memorized to tell 1 % of them."""
    here = next(one for one in evaluation.label_counts if one.factor == 1)
    if not evaluation.signals or here.others < RESOLVED:
        return ""
    name, best = max(evaluation.signals.items(), key=lambda each: each[1].auc)
    combined, single = (each.at_fpr[0.01].tpr for each in (evaluation.combination, best))
    return (
        "in words: with a threshold that flags 1 % of the captions that are not memorized, the\n"
        f"combination of signals flags {combined:.0%} of the memorized ones, and {name} alone "
        f"{single:.0%}"
    )


def print_classes(evaluation: "LabelEvaluation") -> None:
    """Print the separation of verbatim and of template copies, if the labels say which."""
    if evaluation.classes:
        _print_groups(
            "by class, against the captions that are not memorized",
            {
                f"{kind}: {each.captions:,} captions in {each.clusters:,} clusters": each
                for kind, each in evaluation.classes.items()
            },
        )


def _print_groups(title: str, groups: "Mapping[str, ClassEvaluation | AtThreshold]") -> None:
    """Print the separation of each group of captions, by heading."""
    show(
        f"{title}\n"
        f"{'':26}{'AUC':>6}  {'95 % interval':>14}  {'TPR at 1 % FPR':>15}  {'95 % interval':>14}"
    )
    for heading, each in groups.items():
        show(heading if each.separations else f"{heading}, too few to measure apart")
        for name, result in each.separations.items():
            point = result.at_fpr[0.01]
            interval = f"{result.auc_low:.3f} – {result.auc_high:.3f}"
            rates = f"{point.tpr_low:.3f} – {point.tpr_high:.3f}"
            show(f"  {name:24}{result.auc:6.3f}  {interval:>14}  {point.tpr:15.3f}  {rates:>14}")


def _print_similarity(evaluation: "SimilarityEvaluation") -> None:
    show(
        f"by similarity, on {evaluation.captions:,} captions in {evaluation.clusters:,} clusters: "
        "Spearman's rank correlation\n"
        f"{'':26}{'ρ':>6}  {'95 % interval':>15}"
    )
    for name, result in evaluation.correlations.items():
        rho = f"{'–':>6}  {'–':>15}"
        if result:
            interval = f"{result.low:+.3f} – {result.high:+.3f}"
            rho = f"{result.rho:+6.3f}  {interval:>15}"
        show(f"  {name:24}{rho}")
    _print_groups(
        "captions with at least a similarity, against those with less",
        {
            f"similarity ≥ {each.threshold:.3g}: {each.captions:,} captions in "
            f"{each.clusters:,} clusters": each
            for each in evaluation.thresholds
        },
    )


def print_label_counts(evaluation: "LabelEvaluation") -> None:
    """Print how precise these figures are, and how many labels would make them precise."""
    show(
        "\nprecision of the combination's figures by number of labels, in clusters of "
        "near-duplicates, drawn from\nthese labels with replacement: half-widths of 95 % "
        "intervals, and the interval of the false-positive rate\nof a threshold at 1 %\n"
        f"  {'memorized':>10}{'others':>8}{'AUC':>10}{'TPR at 1 % FPR':>17}{'FPR':>17}"
    )
    for each in evaluation.label_counts:
        rate = f"{each.fpr_low:.1%} – {each.fpr_high:.1%}"
        show(
            f"  {each.memorized:10,}{each.others:8,}{f'±{each.auc:.3f}':>10}"
            f"{f'±{each.tpr:.3f}':>17}{rate:>17}"
        )


def few_labels(evaluation: "LabelEvaluation") -> str:
    """Return a warning if there are too few labels for precise figures, else ""."""
    here = next(one for one in evaluation.label_counts if one.factor == 1)
    if here.is_enough:
        return ""
    enough = next((one for one in evaluation.label_counts if one.is_enough), None)
    target = enough or evaluation.label_counts[-1]
    return (
        f"few labels: the true-positive rate of the combination is known to ±{here.tpr:.0%}, and a "
        f"threshold at 1 % false positives has between {here.fpr_low:.1%} and {here.fpr_high:.1%}; "
        f"for ±5 % and at most 2 %, label {'about' if enough else 'more than'} "
        f"{target.memorized:,} clusters of memorized captions and {target.others:,} of others, "
        "with memscan review or memscan verify"
    )


def reversed_directions(evaluation: "LabelEvaluation") -> list[str]:
    """Return a warning per signal whose documented direction the labels refute."""
    return [
        f"{name}: labels contradict the documented direction (AUC {result.auc:.3f}, 95 % interval "
        f"{result.auc_low:.3f} – {result.auc_high:.3f}); no threshold is given. Check the labels, "
        "or use the combination, which learns the sign"
        for name, result in evaluation.reversed_signals.items()
    ]


def _print_fdr_checks(name: str, references: int, checks: "list[FdrCheck]") -> None:
    columns = f"{'q·m₀/m':>7}{'FDR':>7}{'length':>8}{'TPR':>8}"
    show(
        f"\nrealized false discovery rate of selections by {name}, with half of the {references:,} "
        f"reference captions\nas the null, mean over {checks[0].splits} random halves; candidates: "
        "the memorized captions and the other half,\nor also the trained captions that are not "
        "memorized\n"
        f"  {'':12}other half                         all\n"
        f"  {'target q':12}{columns}     {columns}"
    )
    for check in checks:
        cells = "     ".join(
            _fdr_cells(outcome, check.target) for outcome in (check.exchangeable, check.all)
        )
        show(f"  {check.target:<12g}{cells}")


def _fdr_cells(outcome: "FdrOutcome", target: float) -> str:
    bound = f"{target * outcome.null_share:7.3f}"
    return f"{bound}{outcome.fdr:7.3f}{outcome.length:8.0f}{outcome.tpr:8.2f}"


def print_thresholds(calibration: "Calibration") -> None:
    show("\nthresholds")
    for threshold in calibration.thresholds:
        sign = "≥" if threshold.higher else "≤"
        rate = f"{threshold.false_positive_rate:.2%} false positives"
        show(f"  {threshold.signal:24}{sign} {threshold.threshold:.4g}   {rate}")


def print_discovery(discovery: "Discovery", assumption: str) -> None:
    selection = discovery.selection
    bulk = discovery.kind == "bulk"
    null = f"{discovery.null_captions:,} reference captions"
    if bulk:
        null = "a normal distribution fitted to the run's own scores"
    show(
        f"{selection.candidates:,} captions by {discovery.signal}, compared with {null}\n"
        f"assumption: {assumption}\n"
    )
    if selection.threshold is None:
        show(f"no caption can be selected at a false discovery rate of {selection.fdr:g}")
    else:
        show(
            f"{selection.length:,} captions at a false discovery rate of {selection.fdr:g}: "
            f"p ≤ {selection.p:.3g}, rank_score ≥ {selection.threshold:.6g}"
        )
        if not bulk:
            show(f"expected false discoveries: at most {selection.expected_false:.1f}")
    if bulk:
        show(
            "the false discovery rate holds only if the assumption does; scan with --reference to "
            "avoid it"
        )
    else:
        smallest = f"shortest selection possible with these captions: {selection.smallest:,}"
        show(f"{smallest} (m / (q (n₀ + 1)))")
