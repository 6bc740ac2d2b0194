"""Time and memory of a finished run, by rule, from the workflow's own benchmark files.

    python benchmarks/rules.py --results results --title "Embedded default" --wall 412 --command "snakemake --cores all"

Writes its section of docs/benchmarks.md anew and leaves the others.
"""

import argparse
import platform
import re
import subprocess
from pathlib import Path

from taxaforge.files import read_lines

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Timings are read here, never asserted in tests. Every section is written by the script that its command names.
"""


def rows(results: Path) -> list[tuple[str, int, float, float, float, float]]:
    """(rule, jobs, wall s of all, longest wall s, CPU s of all, largest resident MiB), slowest rule first."""
    table = []
    for folder in sorted((results / "benchmarks").iterdir()):
        lines = [read_lines(path)[-1] for path in sorted(folder.glob("*.jsonl"))]
        if lines:
            wall = [float(line["s"]) for line in lines]
            cpu = sum(number(line.get("cpu_time")) for line in lines)
            table.append(
                (folder.name, len(lines), sum(wall), max(wall), cpu, max(number(line.get("max_rss")) for line in lines))
            )
    return sorted(table, key=lambda row: -row[2])


def number(value: object) -> float:
    """Snakemake writes "NA" for jobs too short to be sampled."""
    return float(value) if isinstance(value, (int, float)) else 0.0


def commit_of(results: Path) -> str:
    """The commit of the checkout that a run's results lie in."""
    asked = ["git", "-C", str(results.resolve().parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip()


def section(results: Path, title: str, wall: float, command: str) -> str:
    table = rows(results)
    commit = commit_of(results)
    lines = [
        f"## {title}",
        "",
        f"`{command}` at {commit}: **{wall / 60:.1f} min** wall on 2 cores ({platform.machine()}, no GPU), {sum(row[1] for row in table)} jobs, "
        f"largest job {max(row[5] for row in table) / 1024:.2f} GiB. Two single-threaded jobs run side by side, so the rules'",
        "wall times add up to more than the run's.",
        "",
        "| rule | jobs | wall, all jobs (s) | longest job (s) | CPU (s) | largest job (MiB) |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {rule} | {jobs} | {wall:.1f} | {longest:.1f} | {cpu:.1f} | {memory:.0f} |"
        for rule, jobs, wall, longest, cpu, memory in table
    ]
    return "\n".join(lines) + "\n"


def put(path: Path, head: str, title: str, text: str) -> None:
    """Replaces the section of this title where it stands on a page, or adds it at the end; words after its last table go with it."""
    page = path.read_text("utf-8") if path.exists() else head
    head, *sections = re.split(r"(?m)^(?=## )", page)
    place = next((i for i, one in enumerate(sections) if one.splitlines()[0] == f"## {title}"), len(sections))
    sections[place : place + 1] = [text]
    path.write_text("\n".join([head.rstrip() + "\n", *(one.rstrip() + "\n" for one in sections)]), "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--title", default="Embedded default")
    parser.add_argument("--wall", type=float, required=True, help="wall time of the whole run in s")
    parser.add_argument("--command", default="snakemake --cores all")
    given = parser.parse_args()
    put(PAGE, HEAD, given.title, section(given.results, given.title, given.wall, given.command))
    print(f"wrote {PAGE.name}: {given.title}")
