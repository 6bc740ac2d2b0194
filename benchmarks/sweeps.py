"""The table of settings that were tried around each method, for docs/first-results.md.

    snakemake --cores all --configfile config/presets/sweeps.yaml -- results/evaluation/images.csv
    python benchmarks/sweeps.py --results results

Reads what that run measured; writes the section "Settings that were tried" anew and leaves the others.
"""

import argparse
from pathlib import Path

import yaml
from first_results import HEAD, METRICS, PAGE, measure, percent

from rules import commit_of, put
from taxaforge import tables
from taxaforge.config.settings import dump, load
from taxaforge.evaluation.schema import IMAGES
from taxaforge.files import read_json

ROOT = Path(__file__).parents[1]
PRESET = ROOT / "config/presets/sweeps.yaml"
TITLE = "Settings that were tried"


def section(results: Path) -> str:
    given = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    preset = yaml.safe_load(PRESET.read_text())
    settings = load({**given, **{name: {**given.get(name, {}), **section} for name, section in preset.items()}})
    found = {
        (row["method"], row["metric"]): row
        for row in tables.read(IMAGES, results / "evaluation/images.csv")
        if row["scope"] == "all" and row["features"] == "judge"
    }
    drawn = sum(read_json(results / "images/allocation.json").values())
    lines = [
        f"## {TITLE}", "",
        f"`snakemake --cores all --configfile {PRESET.relative_to(ROOT)} -- results/evaluation/images.csv` at "
        f"{commit_of(results)}, seed 0, {drawn} images a line, the judge of the default run. One setting at a time; chosen by "
        "no one: the defaults stand as they were before this table. Ranges of KID, Vendi and similarity are over splits.", "",
        "| method | what differs from its default | recognised, % | KID | FD | Vendi | nearest training image |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in ["real", *settings.guidance.methods]:
        cells = [percent(found[name, "recognised"])]
        cells += [measure(found[name, metric], digits) for metric, digits in METRICS.items()]
        lines.append(f"| {name} | {difference(settings, name)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def difference(settings, name: str) -> str:
    """The settings of a method that are not its kind's own."""
    if name == "real":
        return "held-out images, the floor"
    recipe = settings.guidance.recipe(name)
    own, default = dump(recipe), dump(type(recipe)())
    changed = [f"{key} {value}" for key, value in own.items() if value != default[key]]
    return f"{recipe.kind}: {', '.join(changed)}" if changed else "default"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    put(PAGE, HEAD, TITLE, section(parser.parse_args().results))
    print(f"wrote {PAGE.name}: {TITLE}")
