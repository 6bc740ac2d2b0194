"""The verdict: adopt, inconclusive or do not use, for each method, overall and by species, with its reason.

The default answer is that nothing is shown. Rules: `decide_one`; their order is their priority.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taxaforge import tables
from taxaforge.evaluation.comparisons import control_arm
from taxaforge.evaluation.schema import COMPARISONS, IMAGES, VERDICT
from taxaforge.evaluation.statistics import Estimate, seeds_needed
from taxaforge.guidance.schema import IMAGES as SYNTHETIC

CORE_CONTROLS = {
    "real": "real images alone",
    "real-equal-steps": "real images alone, trained as long",
    "strong-augmentation": "RandAugment and CutMix on real images",
    "real-duplicated": "real images repeated to the same number",
    "balanced": "balanced sampling",
    "random-drop": "dropping images at random instead of by the filter",
    "label-shuffled": "synthetic images with shuffled labels",
}
"""Controls without which nothing is adopted: arm name -> in words."""

HARM_Q = 0.1  # a species counts as harmed where its interval is below zero and its q-value at most this


@dataclass(frozen=True)
class Comparison:
    """One method against one control, in percentage points of macro accuracy. p: adjusted for the other tests."""

    control: str
    difference: float
    low: float
    high: float
    equivalence_low: float
    equivalence_high: float
    p: float
    seeds_needed: int | None


@dataclass(frozen=True)
class Case:
    """All that a decision about one method rests on.

    missing: core controls that did not run. failed_audits, harmed_species: names, for the reason.
    """

    comparisons: Sequence[Comparison]
    missing: Sequence[str] = ()
    failed_audits: Sequence[str] = ()
    harmed_species: Sequence[str] = ()


def decide_one(case: Case, delta: float, alpha: float) -> tuple[str, str, Comparison | None]:
    """Verdict, reason and the comparison that decided.

    A method must beat *every* control, so one control it cannot beat is enough to advise against it. Arms
    that agree on every image have no spread to judge by: their interval of width 0 proves nothing.
    A species that is shown to be harmed prevents adoption. Rules: docs/statistics.md.
    """
    if case.failed_audits:
        return "do not use", f"Its images failed an audit: {'; '.join(case.failed_audits)}.", None
    if not case.comparisons:
        reason = "It was not tested, which takes a classifier trained with its images and a control without them."
        return "inconclusive", reason, None
    alike = [c for c in case.comparisons if c.low == c.high == 0]
    told_apart = [c for c in case.comparisons if c not in alike]
    ceiling = min(told_apart, key=lambda c: c.high, default=None)
    if ceiling and ceiling.high < 0:
        return "do not use", f"Adding its images made the classifier worse: {_measured(ceiling)}.", ceiling
    if ceiling and ceiling.high < delta:
        also = " and the two are shown to be equivalent" if _equivalent(ceiling, delta) else ""
        reason = f"It brings less than the {_points(delta)} that would be worth using: {_measured(ceiling)}{also}."
        return "do not use", reason, ceiling
    for equal in told_apart:
        if _equivalent(equal, delta):
            reason = f"It makes no difference of {_points(delta)} either way: {_measured(equal)}."
            return "do not use", reason, equal
    if alike:
        reason = f"Its classifier and {_control(alike[0])} are right on the same test photographs, which shows nothing."
        return "inconclusive", reason, alike[0]
    weakest = min(case.comparisons, key=lambda c: c.low)
    if not all(c.low > 0 and c.p <= alpha for c in case.comparisons):
        weakest = min(case.comparisons, key=lambda c: (c.low > 0 and c.p <= alpha, c.low))
        reason = f"Neither a benefit nor its absence is shown: {_measured(weakest)}; {_remedy(weakest)}."
        return "inconclusive", reason, weakest
    smallest = min(case.comparisons, key=lambda c: c.difference)
    if smallest.difference < delta:
        reason = f"A gain is shown, but it is likely below the {_points(delta)} worth using: {_measured(smallest)}."
        return "inconclusive", reason, smallest
    if case.harmed_species:
        reason = f"It helps on average but harms {', '.join(case.harmed_species)}: {_measured(weakest)}."
        return "inconclusive", reason, weakest
    if case.missing:
        words = "; ".join(CORE_CONTROLS[name] for name in case.missing)
        reason = f"It beat every control that ran ({_measured(weakest)}), but these did not run: {words}."
        return "inconclusive", reason, weakest
    return "adopt", f"Adding its images made the classifier better than every control: {_measured(weakest)}.", weakest


def _equivalent(c: Comparison, delta: float) -> bool:
    return -delta < c.equivalence_low and c.equivalence_high < delta


def _points(value: float) -> str:
    return f"{value:.1f} percentage point{'' if f'{value:.1f}' == '1.0' else 's'}"


def _control(c: Comparison) -> str:
    return CORE_CONTROLS.get(c.control, c.control)


def _measured(c: Comparison) -> str:
    if c.low <= -100 and c.high >= 100:
        return f"{c.difference:+.1f} points of accuracy against {_control(c)}, without an estimate of chance"
    return f"{c.difference:+.1f} points of accuracy against {_control(c)} (plausible: {c.low:+.1f} to {c.high:+.1f})"


def _remedy(c: Comparison) -> str:
    if c.low <= -100 and c.high >= 100:
        return "it takes at least two seeds, and two observation groups of a species, to tell gain from chance"
    if c.seeds_needed is None:
        return "more test photographs are needed, more seeds alone would not settle it"
    return f"about {c.seeds_needed} seeds would settle it"


def decide(
    *,
    comparisons: str | Path,
    images: str | Path,
    methods: Sequence[str],
    arms: Sequence[str],
    cfg: dict,
    out: str | Path,
    synthetic: Mapping[str, str | Path] | None = None,
    audits: Mapping[str, Sequence[str]] | None = None,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write VERDICT from COMPARISONS and IMAGES.

    Args:
        methods: all that drew images, tested or not. arms: all that ran.
        cfg: delta_points, alpha. synthetic: {method: metadata.parquet}, for the evidence tag of each method.
        audits: failed audits of each method.
    """
    compared, measured = tables.read(COMPARISONS, comparisons), tables.read(IMAGES, images)
    evidence = {
        method: row["evidence"]
        for method, path in (synthetic or {}).items()
        for row in tables.read(SYNTHETIC, path)[:1]
    }
    rows = verdicts(compared, measured, methods, arms, cfg, evidence, audits or {})
    tables.write(VERDICT, rows, out)
    counts = {
        name: sum(row["verdict"] == name and row["scope"] == "all" for row in rows) for name in ("adopt", "do not use")
    }
    log(None, {"methods_adopted": counts["adopt"], "methods_rejected": counts["do not use"]})


def verdicts(
    compared: Sequence[Mapping],
    measured: Sequence[Mapping],
    methods: Sequence[str],
    arms: Sequence[str],
    cfg: dict,
    evidence: Mapping[str, str],
    audits: Mapping[str, Sequence[str]],
) -> list[dict]:
    """Rows of VERDICT. Species rows rest on the same rules with Benjamini-Hochberg q-values, and are exploratory."""
    delta, alpha = cfg["delta_points"], cfg["alpha"]
    recognised = {(m["method"], m["scope"]): m for m in measured if m["metric"] == "recognised"}
    rows = []
    for method in methods:
        missing = [name for name in CORE_CONTROLS if control_arm(name, method) not in arms]
        mine = [row for row in compared if row["method"] == method]
        harmed = dict.fromkeys(
            row["scope"].removeprefix("species:")
            for row in mine
            if row["scope"] != "all" and row["high_points"] < 0 and row["q"] <= HARM_Q
        )
        for scope in dict.fromkeys(["all", *(row["scope"] for row in mine)]):
            case = Case(
                [_comparison(row, delta, alpha) for row in mine if row["scope"] == scope],
                missing,
                audits.get(method, ()),
                list(harmed) if scope == "all" else (),
            )
            verdict, reason, decisive = decide_one(case, delta, alpha)
            judged = recognised.get((method, scope.removeprefix("species:")), {})
            rows.append(
                {
                    "method": method,
                    "evidence": evidence.get(method, ""),
                    "scope": scope,
                    "verdict": verdict,
                    "reason": reason if scope == "all" else f"Exploratory: {reason}",
                    "control": decisive and decisive.control,
                    "difference_points": decisive and decisive.difference,
                    "low_points": decisive and decisive.low,
                    "high_points": decisive and decisive.high,
                    "missing_controls": "; ".join(missing),
                    "seeds_needed": decisive and decisive.seeds_needed,
                    "recognised": judged.get("value"),
                    "recognised_real": judged.get("floor"),
                }
            )
    return rows


def _comparison(row: Mapping, delta: float, alpha: float) -> Comparison:
    parts = (row["variance_seeds"], row["variance_groups"]) if row["df"] else (float("nan"), float("nan"))
    estimate = Estimate(row["difference_points"], *parts, row["seeds"], row["groups"], row["df_groups"])
    return Comparison(
        control=row["control"],
        difference=row["difference_points"],
        low=row["low_points"],
        high=row["high_points"],
        equivalence_low=row["equivalence_low_points"],
        equivalence_high=row["equivalence_high_points"],
        p=row["p_holm"] if row["scope"] == "all" else row["q"],
        seeds_needed=seeds_needed(estimate, delta, alpha),
    )
