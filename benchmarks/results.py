"""What a run with all controls found, for docs/results.md.

    python benchmarks/results.py --results results --title "Photographs, 20 images a species, from scratch" \
        --command "snakemake --cores all --configfile config/presets/photographs.yaml"

Writes its section anew and leaves the others. Pictures stay in the run's own report, beside real ones.
"""

import argparse
from pathlib import Path

from first_results import percent

from rules import commit_of, put
from taxaforge import tables
from taxaforge.evaluation.audit_schema import AUDITS
from taxaforge.evaluation.decision import CORE_CONTROLS
from taxaforge.evaluation.schema import ACCURACY, COMPARISONS, COST, IMAGES, NEXT_RUN, VERDICT

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
HEAD = """# Results

Does adding generated images help a classifier of photographs? All methods, all controls, several seeds. Intervals are 95 %;
p-values are Holm's over the methods of one control. Tables by `benchmarks/results.py`, words by hand.
"""


def section(results: Path, title: str, command: str) -> str:
    evaluation = results / "evaluation"
    accuracy = [r for r in tables.read(ACCURACY, evaluation / "accuracy.csv") if r["seed"] == "mean"]
    means = {(r["arm"], r["scope"], r["metric"]): r for r in accuracy}
    compared = [r for r in tables.read(COMPARISONS, evaluation / "comparisons.csv") if r["scope"] == "all"]
    verdicts = {r["method"]: r for r in tables.read(VERDICT, evaluation / "verdict.csv") if r["scope"] == "all"}
    first = compared[0]
    lines = [
        f"## {title}", "",
        f"`{command}` at {commit_of(results)}: {first['seeds']} seeds, {first['images']} test images of {first['groups']} "
        "observation groups.", "",
        "| arm | macro accuracy, % | genus named, % | Brier score | calibration error (ECE) | jobs of this arm alone, s |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    spent = {r["name"]: r["wall_s"] for r in tables.read(COST, evaluation / "cost.csv") if r["level"] == "arm"}
    for arm in dict.fromkeys(r["arm"] for r in accuracy):
        brier, ece = (f"{means[arm, 'all', name]['value']:.3f}" for name in ("brier", "ece"))
        genus = means.get((arm, "genus", "summed_top1"))
        cells = [percent(means[arm, "all", "macro_top1"]), percent(genus), brier, ece, f"{spent[arm]:.0f}"]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *differences(compared), "", *decisions(evaluation, verdicts)]) + "\n"


def differences(compared: list[dict]) -> list[str]:
    """A row a method, a column a control: the difference in points."""
    controls = [c for c in CORE_CONTROLS if any(r["control"] == c for r in compared)]
    controls += [c for c in dict.fromkeys(r["control"] for r in compared) if c not in controls]
    found = {(r["method"], r["control"]): r for r in compared}
    lines = ["Difference to each control, in points of macro accuracy (p):", ""]
    lines += [f"| method | {' | '.join(controls)} |", "|---" * (len(controls) + 1) + "|"]
    for method in dict.fromkeys(r["method"] for r in compared):
        cells = []
        for control in controls:
            row = found.get((method, control))
            cells.append(
                f"{row['difference_points']:+.1f} ({row['low_points']:+.1f} to {row['high_points']:+.1f}; {row['p_holm']:.2g})"
                if row else ""
            )  # fmt: skip
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def decisions(evaluation: Path, verdicts: dict[str, dict]) -> list[str]:
    """Verdicts with their reasons, what the judge and the audits say, and the cheapest next run."""
    recognised = {
        r["method"]: r
        for r in tables.read(IMAGES, evaluation / "images.csv")
        if r["scope"] == "all" and r["features"] == "judge" and r["metric"] == "recognised"
    }
    audits: dict[str, list[str]] = {}
    for row in tables.read(AUDITS, evaluation / "audits.csv"):
        audits.setdefault(row["subject"], []).append(f"{row['audit']} {row['outcome']}")
    cheapest = {r["method"]: r["change"] for r in tables.read(NEXT_RUN, evaluation / "next_run.csv") if r["cheapest"]}
    real = recognised["real"]
    lines = [
        f"The judge names {percent(real)} % of held-out real images.", "",
        "| method | recognised, % | audits | verdict | reason printed | cheapest next run |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for method, row in verdicts.items():
        cells = [percent(recognised.get(method)), ", ".join(audits.get(method, ["none"])), f"**{row['verdict']}**"]
        lines.append(f"| {method} | {' | '.join(cells)} | {row['reason']} | {cheapest.get(method, '')} |")
    return [*lines, "", f"Real images among each other: {', '.join(audits.get('real images', ['not audited']))}."]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--title", required=True)
    parser.add_argument("--command", required=True)
    given = parser.parse_args()
    put(PAGE, HEAD, given.title, section(given.results, given.title, given.command))
    print(f"wrote {PAGE.name}: {given.title}")
