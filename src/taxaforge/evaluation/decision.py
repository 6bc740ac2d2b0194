"""The rules of the verdict: what is known of one method in, one word and one sentence out. No tables, no files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

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

FILTER = {
    "helps": "its filter is shown to be better than dropping images at random",
    "no better than random": "its filter brings less than the smallest gain worth using over dropping images at random",
    "not shown": "whether its filter is better than dropping images at random is not settled",
    "dropped what chance would": "its filter kept the images that dropping at random keeps, so it needs no such control",
    "": "its filter was not compared with dropping images at random",
}
"""What is known of a method's filter -> in words."""


MANY_SEEDS = 50
"""More than anybody trains: then it is test images that a run lacks."""


@dataclass(frozen=True)
class Comparison:
    """One method against one control, in percentage points of macro accuracy.

    p: adjusted for the other tests. plan: works out the seeds that would find a gain of delta, None where none would;
    asked of the comparisons that decide alone.
    """

    control: str
    difference: float
    low: float
    high: float
    equivalence_low: float
    equivalence_high: float
    p: float
    plan: Callable[[], int | None]

    @cached_property
    def seeds_needed(self) -> int | None:
        return self.plan()


@dataclass(frozen=True)
class Case:
    """All that a decision about one method rests on.

    comparisons: against every control but the filter's. twin: against dropping at random, where the filter
    dropped something. missing: core controls that did not run. unmade_audits,
    failed_audits, harmed_species: names, for the reason.
    tiers: tier -> its comparison whose lower bound is lowest.
    """

    comparisons: Sequence[Comparison]
    missing: Sequence[str] = ()
    unmade_audits: Sequence[str] = ()
    failed_audits: Sequence[str] = ()
    harmed_species: Sequence[str] = ()
    twin: Comparison | None = None
    tiers: Mapping[str, Comparison] = field(default_factory=dict)


class Decision(NamedTuple):
    """decisive: the comparison that decided. obstacle: what stood between the method and adoption, "" where nothing did.

    open: the comparisons that more seeds would have to settle, where there are other ones than the decisive one.
    """

    verdict: str
    reason: str
    decisive: Comparison | None
    obstacle: str
    open: Sequence[Comparison] = ()

    @property
    def seeds_needed(self) -> int | None:
        """Seeds that would show a gain of delta in all that is open; None where seeds alone would not."""
        plans = [c.seeds_needed for c in self.open or ([self.decisive] if self.decisive else ())]
        return None if None in plans else max(plans, default=None)


OBSTACLES = (
    "audit", "untested", "harm", "no gain", "alike", "unbeaten", "small gain", "filter", "species", "tier", "controls", "unaudited",
)  # fmt: skip
"""Every obstacle, in the order in which they are looked for."""


def decide_one(case: Case, delta: float, alpha: float, delta_tier: float = 1.0) -> Decision:
    """Verdict, reason, decisive comparison and obstacle.

    A method must beat *every* control, so one control it cannot beat is enough to advise against it. Arms
    that agree on every image have no spread to judge by: their interval of width 0 proves nothing.
    A useless filter speaks against the filter, not against the images, so it keeps the method from adoption
    and no more. Rules: docs/statistics.md.

    Args:
        delta, delta_tier: smallest gain worth using, and largest loss of a tier that is put up with, in points.
    """
    if case.failed_audits:
        return Decision("do not use", f"An audit failed: {'; '.join(case.failed_audits)}.", None, "audit")
    if not case.comparisons:
        reason = "It was not tested, which takes a classifier trained with its images and a control without them."
        return Decision("inconclusive", reason, None, "untested")
    alike = [c for c in case.comparisons if c.low == c.high == 0]
    told_apart = [c for c in case.comparisons if c not in alike]
    against = _against(told_apart, delta, alpha)
    if against:
        return against
    if alike:
        reason = f"Its classifier and {_control(alike[0])} are right on the same test photographs, which shows nothing."
        return Decision("inconclusive", reason, alike[0], "alike")
    weakest = min(case.comparisons, key=lambda c: (_beaten(c, alpha), c.low))
    if not _beaten(weakest, alpha):
        found = Decision(
            "inconclusive", "", weakest, "unbeaten", [c for c in case.comparisons if not _beaten(c, alpha)]
        )
        reason = f"Neither a benefit nor its absence is shown: {_measured(weakest)}; {_remedy(found, delta)}."
        return found._replace(reason=reason)
    smallest = min(case.comparisons, key=lambda c: c.difference)
    if smallest.difference < delta:
        reason = f"A gain is shown, but it is likely below the {_points(delta)} worth using: {_measured(smallest)}."
        return Decision("inconclusive", reason, smallest, "small gain")
    if case.twin and not _beaten(case.twin, alpha):
        reason = f"Its images help, but {FILTER[judge_filter(case.twin, delta, alpha)]}: {_measured(case.twin)}."
        return Decision("inconclusive", reason, case.twin, "filter")
    if case.harmed_species:
        reason = f"It helps on average but harms {', '.join(case.harmed_species)}: {_measured(weakest)}."
        return Decision("inconclusive", reason, weakest, "species")
    exposed = {name: c for name, c in case.tiers.items() if c.low < -delta_tier}
    if exposed:
        name, lowest = min(exposed.items(), key=lambda item: item[1].low)
        reason = (
            f"It helps on average, but for species with {name} training images a loss of more than "
            f"{_points(delta_tier)} is not excluded: {_measured(lowest)}."
        )
        return Decision("inconclusive", reason, lowest, "tier")
    if case.missing:
        words = "; ".join(CORE_CONTROLS[name] for name in case.missing)
        reason = f"It beat every control that ran ({_measured(weakest)}), but these did not run: {words}."
        return Decision("inconclusive", reason, weakest, "controls")
    if case.unmade_audits:
        words = "; ".join(case.unmade_audits)
        reason = f"It beat every control ({_measured(weakest)}), but was not audited in everything: {words}."
        return Decision("inconclusive", reason, weakest, "unaudited")
    reason = f"Adding its images made the classifier better than every control: {_measured(weakest)}."
    return Decision("adopt", reason, weakest, "")


def _against(comparisons: Sequence[Comparison], delta: float, alpha: float) -> Decision | None:
    """The decision where it is shown to be worse than a control, or a gain worth using is excluded."""
    worse = min((c for c in comparisons if c.high < 0 and c.p <= alpha), key=lambda c: c.high, default=None)
    if worse:
        return Decision("do not use", f"Its classifier is worse than a control: {_measured(worse)}.", worse, "harm")
    ceiling = min(comparisons, key=lambda c: c.high, default=None)
    if ceiling and ceiling.high < delta:
        also = " and the two are shown to be equivalent" if _equivalent(ceiling, delta) else ""
        reason = f"It brings less than the {_points(delta)} that would be worth using: {_measured(ceiling)}{also}."
        return Decision("do not use", reason, ceiling, "no gain")
    for equal in comparisons:
        if _equivalent(equal, delta):
            reason = f"It makes no difference of {_points(delta)} either way: {_measured(equal)}."
            return Decision("do not use", reason, equal, "no gain")
    return None


def judge_filter(twin: Comparison | None, delta: float, alpha: float) -> str:
    """A key of FILTER, from the comparison with dropping at random."""
    if twin is None:
        return ""
    if _beaten(twin, alpha):
        return "helps"
    known = not (twin.low == twin.high == 0) and (twin.high < delta or _equivalent(twin, delta))
    return "no better than random" if known else "not shown"


def _beaten(c: Comparison, alpha: float) -> bool:
    return c.low > 0 and c.p <= alpha


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


def _remedy(decision: Decision, delta: float) -> str:
    """What would show a gain of delta against all that is open; what would settle it as it looks, next_run.py says."""
    if decision.decisive.low <= -100 and decision.decisive.high >= 100:
        return "it takes at least two seeds, and two observation groups of a species, to tell gain from chance"
    seeds = decision.seeds_needed
    if seeds is None or seeds > MANY_SEEDS:
        return "more test photographs are needed, more seeds alone would not settle it"
    return f"about {seeds} seeds would show a gain of {_points(delta)}"
