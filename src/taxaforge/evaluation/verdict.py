"""The verdict: adopt, inconclusive or do not use, for each method overall, by tier and by species, with its reason.

The default answer is that nothing is shown. Rules: `decision.decide_one`; their order is their priority.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from taxaforge import tables
from taxaforge.evaluation.accuracy import TIERS
from taxaforge.evaluation.comparisons import EXTENDED_CONTROLS, RANDOM_DROP, control_arm, estimate_of
from taxaforge.evaluation.decision import CORE_CONTROLS, Case, Comparison, decide_one, judge_filter
from taxaforge.evaluation.power import seeds_needed
from taxaforge.evaluation.schema import COMPARISONS, IMAGES, VERDICT
from taxaforge.guidance.schema import IMAGES as SYNTHETIC

SIGN = {"adopt": 1, "inconclusive": 0, "do not use": -1}
"""Verdicts as numbers, for tracking."""
SHOWN = ("all", *(f"tier:{name}" for name in TIERS))
HARM_Q = 0.1  # a species counts as harmed where its interval is below zero and its q-value at most this


def decide(
    *,
    comparisons: str | Path,
    images: str | Path,
    methods: Sequence[str],
    arms: Sequence[str],
    cfg: dict,
    out: str | Path,
    synthetic: Mapping[str, str | Path] | None = None,
    synthetic_beside: Mapping[str, Sequence[str | Path]] | None = None,
    audits: Mapping[str, Sequence[str]] | None = None,
    unmade: Mapping[str, Sequence[str]] | None = None,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write VERDICT from COMPARISONS and IMAGES.

    Args:
        methods: all that drew images, tested or not. arms: all that ran.
        cfg: delta_points, delta_tier_points, alpha. synthetic: {method: metadata.parquet}, for the evidence tag of
            each method and for what its filter dropped. synthetic_beside: {method: the same of the runs that are joined}.
        audits, unmade: of each method the audits that it failed, and those that could not be made.
    """
    compared, measured = tables.read(COMPARISONS, comparisons), tables.read(IMAGES, images)
    drawn = {method: tables.read(SYNTHETIC, path) for method, path in (synthetic or {}).items()}
    evidence = {method: rows[0]["evidence"] for method, rows in drawn.items() if rows}
    blind = [
        method
        for method, rows in drawn.items()
        if _blind(rows)
        and all(_blind(tables.read(SYNTHETIC, path)) for path in (synthetic_beside or {}).get(method, ()))
    ]
    rows = verdicts(compared, measured, methods, arms, cfg, evidence, audits or {}, blind, unmade or {})
    tables.write(VERDICT, rows, out)
    overall = [row for row in rows if row["scope"] == "all"]
    for row in overall:
        print(f"{row['method']}: {row['verdict']}. {row['reason']}")
    words = [row["verdict"] for row in overall]
    log(None, {"methods_adopted": words.count("adopt"), "methods_rejected": words.count("do not use")})
    log(
        None, {f"verdict/{row['method']}/{row['scope']}": SIGN[row["verdict"]] for row in rows if row["scope"] in SHOWN}
    )


def _blind(rows: Sequence[Mapping]) -> bool:
    """Whether a filter kept just the images that dropping at random keeps."""
    return all(row["kept"] == row["control"] for row in rows)


def verdicts(
    compared: Sequence[Mapping],
    measured: Sequence[Mapping],
    methods: Sequence[str],
    arms: Sequence[str],
    cfg: dict,
    evidence: Mapping[str, str],
    audits: Mapping[str, Sequence[str]],
    blind: Sequence[str] = (),
    unmade: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[dict]:
    """Rows of VERDICT. Species rows rest on the same rules with Benjamini-Hochberg q-values, and are exploratory.

    Args:
        blind: methods whose filter kept just the images that dropping at random keeps, in every run that is joined; a
            second training on the same images would show nothing, so they need no such control.
        unmade: method -> audits that could not be made.
    """
    recognised = {(m["method"], m["scope"]): m for m in measured if m["metric"] == "recognised"}
    rows = []
    for method in methods:
        needed = [name for name in CORE_CONTROLS if not (name == RANDOM_DROP and method in blind)]
        missing = [name for name in needed if control_arm(name, method) not in arms]
        beside = [arm for arm in EXTENDED_CONTROLS if arm not in (*arms, f"real+{method}")]
        mine = [
            row for row in compared
            if row["method"] == method and row["control"] not in EXTENDED_CONTROLS
            and not (row["control"] == RANDOM_DROP and method in blind)
        ]  # fmt: skip
        gaps = {"missing": missing, "unmade_audits": unmade.get(method, ())}
        judged = {scope: _judge(mine, scope, gaps, audits.get(method, ()), cfg) for scope in _scopes(mine)}
        for scope, (decision, filtered) in judged.items():
            decisive = decision.decisive
            seen = recognised.get((method, scope.removeprefix("species:")), {})
            rows.append(
                {
                    "method": method,
                    "evidence": evidence.get(method, ""),
                    "scope": scope,
                    "verdict": decision.verdict,
                    "reason": f"Exploratory: {decision.reason}" if scope.startswith("species:") else decision.reason,
                    "control": decisive and decisive.control,
                    "difference_points": decisive and decisive.difference,
                    "low_points": decisive and decisive.low,
                    "high_points": decisive and decisive.high,
                    "missing_controls": "; ".join(missing),
                    "missing_beside": "; ".join(beside),
                    "filter": "dropped what chance would" if method in blind else filtered,
                    "obstacle": decision.obstacle,
                    "seeds_needed": decision.seeds_needed,
                    "recognised": seen.get("value"),
                    "recognised_real": seen.get("floor"),
                }
            )
    return rows


def _scopes(rows: Sequence[Mapping]) -> list[str]:
    return list(dict.fromkeys(["all", *(row["scope"] for row in rows)]))


def _judge(rows: Sequence[Mapping], scope: str, gaps: Mapping[str, Sequence[str]], failed: Sequence[str], cfg: dict):
    """(decision, what is known of the filter) about one method in one scope."""
    alpha, tier = cfg["alpha"], cfg["delta_tier_points"]
    delta = tier if scope.startswith("tier:") else cfg["delta_points"]
    found = [_comparison(row, delta, alpha) for row in rows if row["scope"] == scope]
    twin = next((c for c in found if c.control == RANDOM_DROP), None)
    harmed, tiers = {}, {}
    if scope == "all":
        harmed = dict.fromkeys(row["scope"].removeprefix("species:") for row in rows if _harmed(row))
        tiers = _weakest_by_tier(rows, tier, alpha)
    controls = [c for c in found if c is not twin]
    case = Case(controls, failed_audits=failed, harmed_species=list(harmed), twin=twin, tiers=tiers, **gaps)
    return decide_one(case, delta, alpha, tier), judge_filter(twin, delta, alpha)


def _harmed(row: Mapping) -> bool:
    """A species is; to be worse than the same images dropped at random speaks against the filter alone."""
    shown = row["scope"].startswith("species:") and row["control"] != RANDOM_DROP
    return shown and row["high_points"] < 0 and row["q"] <= HARM_Q


def _weakest_by_tier(rows: Sequence[Mapping], delta: float, alpha: float) -> dict[str, Comparison]:
    """tier -> the comparison whose lower bound is lowest, over all controls but the filter's."""
    found: dict[str, Comparison] = {}
    for row in rows:
        if row["scope"].startswith("tier:") and row["control"] != RANDOM_DROP:
            name, one = row["scope"].removeprefix("tier:"), _comparison(row, delta, alpha)
            found[name] = min(found.get(name, one), one, key=lambda c: c.low)
    return found


def _comparison(row: Mapping, delta: float, alpha: float) -> Comparison:
    """p and the seeds needed are those after correction for the family; the seeds for its first, hardest step."""
    corrected = alpha if row["scope"].startswith("species:") else alpha / row["family"]
    return Comparison(
        control=row["control"],
        difference=row["difference_points"],
        low=row["low_points"],
        high=row["high_points"],
        equivalence_low=row["equivalence_low_points"],
        equivalence_high=row["equivalence_high_points"],
        p=row["q"] if row["scope"].startswith("species:") else row["p_holm"],
        plan=lambda: seeds_needed(estimate_of(row), delta, corrected),
    )
