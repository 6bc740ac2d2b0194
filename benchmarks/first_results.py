"""The tables of one run, for docs/first-results.md.

    python benchmarks/first_results.py --results results --title "Photographs: 12 species" \
        --wall 540 --command "snakemake --cores all --configfile config/presets/photographs.yaml"

Writes its section anew and leaves the others. Pictures stay in the run's own report, beside real ones.
"""

import argparse
from pathlib import Path

from rules import commit_of, number, put, rows
from taxaforge import tables
from taxaforge.evaluation.schema import ACCURACY, COMPARISONS, COST, IMAGES, VERDICT

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "first-results.md"
HEAD = """# First results

What the whole path gave on two collections, one seed each; examples of what a report says, not claims about methods.
How the default's settings were chosen, and on what, stands at the end. Intervals are 95 %. Written by `benchmarks/first_results.py`; the words below the tables by hand.
"""


METRICS = {"kid": 3, "fd": 2, "vendi": 2, "nearest_train": 3}
"""Columns of the table of methods and their digits."""


def measure(row: dict, digits: int) -> str:
    """A value with its range, empty where too few images were there to measure."""
    if row["value"] is None:
        return ""
    if row["low"] == row["high"]:
        return f"{row['value']:.{digits}f}"
    return f"{row['value']:.{digits}f} ({row['low']:.{digits}f} to {row['high']:.{digits}f})"


def percent(row: dict | None) -> str:
    if row is None or row["value"] is None:
        return ""
    interval = "" if row["low"] is None else f" ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
    return f"{100 * row['value']:.1f}{interval}"


def section(results: Path, title: str, wall: float, command: str) -> str:
    evaluation = results / "evaluation"
    accuracy = [
        r for r in tables.read(ACCURACY, evaluation / "accuracy.csv") if r["scope"] == "all" and r["seed"] == "mean"
    ]
    images = {
        (r["method"], r["metric"]): r
        for r in tables.read(IMAGES, evaluation / "images.csv")
        if r["scope"] == "all" and r["features"] == "judge"
    }
    compared = [r for r in tables.read(COMPARISONS, evaluation / "comparisons.csv") if r["scope"] == "all"]
    verdicts = {r["method"]: r for r in tables.read(VERDICT, evaluation / "verdict.csv") if r["scope"] == "all"}
    commit = commit_of(results)
    peak = max(row[5] for row in rows(results)) / 1024
    lines = [
        f"## {title}", "",
        f"`{command}` at {commit}, seed 0, 2 CPU cores: {wall / 60:.1f} min, largest job {peak:.2f} GiB.", "",
        "| arm | macro accuracy on the sealed test, % | test images | seeds |", "|---|---|---|---|",
    ]  # fmt: skip
    seeds = max(row["seeds"] for row in compared)
    for row in accuracy:
        if row["metric"] == "macro_top1":
            lines.append(f"| {row['arm']} | {percent(row)} | {row['n']} | {seeds} |")
    lines += ["", "| method | against | difference, points | p (Holm) |", "|---|---|---|---|"]
    for row in compared:
        interval = f"{row['low_points']:+.1f} to {row['high_points']:+.1f}"
        lines.append(
            f"| {row['method']} | {row['control']} | {row['difference_points']:+.1f} ({interval}) | {number(row['p_holm']):.2g} |"
        )
    arms = {row["arm"]: row for row in accuracy if row["metric"] == "macro_top1"}
    spent = tables.read(COST, evaluation / "cost.csv")
    lines += [
        "",
        "| method | recognised by the judge, % | KID | FD | images told apart a species (Vendi) | nearest training image | "
        "accuracy with its images, % | its own jobs, s | its arm alone, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method in ["real", *verdicts]:
        label = "held-out real (the floor)" if method == "real" else f"{method} ({verdicts[method]['evidence']})"
        own = sum(r["wall_s"] for r in spent if r["level"] == "job" and r["name"].split("/")[1:2] == [method])
        whole = [r["wall_s"] for r in spent if r["level"] == "arm" and r["name"] == f"real+{method}"]
        cells = [percent(images[method, "recognised"])]
        cells += [measure(images[method, name], digits) for name, digits in METRICS.items()]
        cells += [percent(arms.get(f"real+{method}")), *([f"{own:.0f}", f"{whole[0]:.0f}"] if whole else ["", ""])]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines += ["", "| method | verdict | reason printed |", "|---|---|---|"]
    lines += [f"| {method} | **{row['verdict']}** | {row['reason']} |" for method, row in verdicts.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--title", required=True)
    parser.add_argument("--wall", type=float, required=True, help="wall time of the whole run in s")
    parser.add_argument("--command", required=True)
    given = parser.parse_args()
    put(PAGE, HEAD, given.title, section(given.results, given.title, given.wall, given.command))
    print(f"wrote {PAGE.name}: {given.title}")
