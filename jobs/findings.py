"""What a calibration has found, as a person reads it."""

from typing import TYPE_CHECKING

from jobs.terminal import show

if TYPE_CHECKING:
    from scanner.calibration import Counted, Discovery, Findings, Promise, Separation
    from scanner.query import Calibration


def print_heading() -> None:
    show(f"{'':26}{'AUC':>6}  {'95 % interval':>14}  {'TPR at':>7} 0.1 %   1 %   3 % FPR")


def print_separation(name: str, one: "Separation") -> None:
    from scanner.calibration import RATES

    interval = f"{one.auc_low:.3f} – {one.auc_high:.3f}"
    caught = "".join(
        f"{one.at[rate].tpr:6.3f}" if rate in one.at else f"{'–':>6}" for rate in RATES
    )
    show(f"  {name:24}{one.auc:6.3f}  {interval:>14}         {caught}")


def print_separations(title: str, group: "dict[str, Separation]") -> None:
    show(title)
    for name, one in group.items():
        print_separation(name, one)


def print_findings(found: "Findings", given: bool) -> None:
    """``given``: the prior is the user's."""
    show("")
    print_heading()
    print_separations("signals", found.signals)
    print_separations(
        "combined, each caption by a model that saw none of its cluster", found.combined
    )
    print_separations("without the model", found.text_only)
    show("what the combination adds to the AUC of")
    for name, gain in found.gains.items():
        show(f"  {name:24}{gain.auc:+6.3f}  {gain.low:+.3f} – {gain.high:+.3f}")
    whose = "as given" if given else "the labels' own; --prevalence sets another"
    show(f"\nprobabilities, if {found.prior:.2%} of the captions are memorized ({whose})")
    show(f"  {'from – to':14}{'captions':>9}{'predicted':>11}{'memorized':>11}")
    for one in found.reliability:
        edges = f"{one.low:.2f} – {one.high:.2f}"
        show(f"  {edges:14}{one.captions:9,}{one.predicted:11.3f}{one.observed:11.3f}")
    for name, promises in found.promises.items():
        _print_promises(name, found.references, promises)


def _print_promises(name: str, references: int, promises: "list[Promise]") -> None:
    columns = f"{'q·m₀/m':>7}{'found':>7}{'length':>8}{'caught':>8}"
    show(
        f"\nfalse discovery rate of a list by {name} with half of the {references:,} reference "
        f"captions as its null,\nmean of {promises[0].splits} random halves; the candidates are "
        "the memorized captions and the other half,\nor those and the trained captions that are "
        "not memorized\n"
        f"  {'':12}other half                         all\n"
        f"  {'promised':12}{columns}     {columns}"
    )
    for one in promises:
        cells = "     ".join(_counted(each, one.promised) for each in (one.exchangeable, one.all))
        show(f"  {one.promised:<12g}{cells}")


def _counted(each: "Counted", promised: float) -> str:
    bound = f"{promised * each.others:7.3f}"
    return f"{bound}{each.found:7.3f}{each.length:8.0f}{each.caught:8.2f}"


def print_thresholds(calibration: "Calibration") -> None:
    show("\nthresholds")
    for one in calibration.thresholds:
        sign = "≥" if one.higher else "≤"
        rate = f"{one.false_positive_rate:.2%} false positives"
        show(f"  {one.signal:24}{sign} {one.threshold:.4g}   {rate}")


def print_discovery(found: "Discovery", assumption: str) -> None:
    one = found.listed
    bulk = found.kind == "bulk"
    of_their_own = " of their own: AN ASSUMPTION, better replaced by scan --reference captions"
    show(
        f"{one.candidates:,} captions by {found.signal}, compared with {found.null_captions:,}"
        f"{of_their_own if bulk else ''}\nassumed: {assumption}\n"
    )
    if one.threshold is None:
        show(f"no list at a false discovery rate of {one.fdr:g}")
    else:
        show(
            f"{one.length:,} captions at a false discovery rate of {one.fdr:g}: p ≤ {one.p:.3g}, "
            f"decision ≥ {one.threshold:.6g}"
        )
        if not bulk:
            show(f"at most {one.expected_false:.1f} of them falsely, on average")
    if bulk:
        show("how many of them falsely is not known: that few are holds if the assumption does")
    else:
        smallest = f"the smallest list that the null set can support: {one.smallest:,} captions"
        show(f"{smallest} (m / (q (n₀ + 1)))")
