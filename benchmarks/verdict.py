"""How often the whole verdict is right: simulated runs in which the truth is known.

    python benchmarks/verdict.py --runs 1000

Every run has four methods and all core controls, 300 test images of 12 species in groups, repeats that share images,
initialisation and order between arms. Nothing is trained: whether a classifier names an image is drawn, and everything
from there on (differences, corrections, tiers, species, rules) is the workflow's own. Writes its section of
docs/benchmarks.md anew and leaves the others.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.stats import norm

from rules import HEAD, PAGE, ROOT, commit_of, put
from taxaforge.evaluation.comparisons import OWN_CONTROLS, control_arm, differences
from taxaforge.evaluation.decision import CORE_CONTROLS
from taxaforge.evaluation.predictions import Predictions
from taxaforge.evaluation.statistics import wilson
from taxaforge.evaluation.verdict import verdicts
from taxaforge.seeds import seed_of

TITLE = "The verdict on simulated runs"
ACCURACY = 0.6
"""Of every arm where nothing is planted."""


@dataclass(frozen=True)
class World:
    """A truth, and the size of the run that looks at it.

    gain: what every method's images add, in points of accuracy; few: the same for the species with few training
    images, if another. twin: what remains of the gain when images are dropped at random; None: the filter dropped
    nothing. controls: core controls that ran. own, image, group, shared, cell: standard deviations of what moves an
    answer, in units of one image's: the arm's seed, the image, its group, image and seed whatever the arm, the rest;
    taste: of what an arm finds differently hard in a group, whatever the seed.
    """

    name: str
    seeds: int = 5
    methods: int = 4
    gain: float = 0.0
    few: float | None = None
    twin: float | None = 0.0
    controls: tuple[str, ...] = tuple(CORE_CONTROLS)
    classes: int = 12
    per_class: int = 25
    own: float = 0.08
    image: float = 0.8
    group: float = 0.6
    shared: float = 0.4
    cell: float = 0.5
    taste: float = 0.25

    @property
    def rare(self) -> np.ndarray:
        """(classes,) which have few training images: the last third."""
        return np.arange(self.classes) >= self.classes * 2 // 3

    @property
    def truth(self) -> float:
        """True difference in macro accuracy from every control but the filter's, in points."""
        return float(np.where(self.rare, self.gain if self.few is None else self.few, self.gain).mean())


CFG = {"alpha": 0.05, "delta_points": 1.0, "delta_tier_points": 3.0}


def names(world: World) -> list[str]:
    return [f"m{i}" for i in range(world.methods)]


def simulate(world: World, rng: np.random.Generator) -> Predictions:
    """Answers of every arm and seed. Without a gain all arms answer alike but for chance."""
    n = world.classes * world.per_class
    label = np.repeat(np.arange(world.classes), world.per_class)
    group = label * n + np.concatenate([np.cumsum(rng.random(world.per_class) < 0.5) for _ in range(world.classes)])
    _, group = np.unique(group, return_inverse=True)
    groups, variances = group.max() + 1, np.square([world.image, world.group, world.shared, world.cell, world.taste])
    width = np.sqrt(variances.sum() + world.own**2)
    ease = rng.normal(0, world.image, n) + rng.normal(0, world.group, groups)[group]
    bundle = rng.normal(0, world.shared, (world.seeds, n))
    rare = world.rare[label]
    probability, tastes = {}, {}
    for arm, points in arms(world).items():
        few = points if world.few is None or not points else world.few
        shift = width * (norm.ppf(ACCURACY + np.where(rare, few, points) / 100))
        key = arm.replace("random-drop+", "real+")  # the same images but for a few are found hard in the same places
        taste = tastes.setdefault(key, rng.normal(0, world.taste, groups)[group])
        moved = rng.normal(0, world.own, (world.seeds, 1)) + rng.normal(0, world.cell, (world.seeds, n))
        right = ease + bundle + taste + moved + shift > 0
        answers = np.where(right, label, (label + 1) % world.classes)
        probability |= {(arm, str(seed)): np.eye(world.classes)[answers[seed]] for seed in range(world.seeds)}
    return Predictions(label, group, probability)


def arms(world: World) -> dict[str, float]:
    """arm -> its true gain in points."""
    found = {control: 0.0 for control in world.controls if control not in OWN_CONTROLS}
    for method in names(world):
        found[f"real+{method}"] = world.gain
        for own in set(OWN_CONTROLS) & set(world.controls):
            if own == "label-shuffled" or world.twin is not None:
                found[f"{own}+{method}"] = 0.0 if own == "label-shuffled" else world.twin
    return dict(sorted(found.items()))


def one_run(world: World, number: int, resamples: int = 0) -> dict[str, float]:
    """Verdicts and intervals of one simulated run, as shares over its methods."""
    found = simulate(world, np.random.default_rng(seed_of("verdict benchmark", world.name, world.seeds, number)))
    methods = names(world)
    images = np.repeat([40, 12, 3], -(-world.classes // 3))[: world.classes]  # training images: many, medium, few
    rows = differences(found, methods, [f"s{c}" for c in range(world.classes)], CFG["alpha"], images, resamples)
    ran = [control_arm(name, method) for name in CORE_CONTROLS for method in methods]
    decided = verdicts(rows, [], methods, ran, CFG, {}, {}, methods if world.twin is None else ())
    overall = [row["verdict"] for row in decided if row["scope"] == "all"]
    worse = [row for row in decided if row["scope"] == "all" and row["obstacle"] == "harm"]
    tiers = [row["verdict"] for row in decided if row["scope"].startswith("tier:")]
    fixed = [row for row in rows if row["scope"] == "all" and row["control"] != "random-drop"]
    held = [row["low_points"] <= world.truth <= row["high_points"] for row in fixed]
    checked = [row["low_bootstrap_points"] <= world.truth <= row["high_bootstrap_points"] for row in fixed if resamples]
    better = {method: [row for row in fixed if row["method"] == method] for method in methods}
    shown = [all(row["low_points"] > 0 and row["p_holm"] <= CFG["alpha"] for row in mine) for mine in better.values()]
    return {
        "adopt": np.mean([word == "adopt" for word in overall]),
        "any": float("adopt" in overall),
        "shown": float(any(shown)),
        "worse": float(bool(worse)),
        "against": np.mean([word == "do not use" for word in overall]),
        "tier": float("adopt" in tiers),
        "covered": np.mean(held),
        "bootstrap": np.mean(checked) if checked else np.nan,
        "half": np.mean([(row["high_points"] - row["low_points"]) / 2 for row in fixed]),
    }


def rates(world: World, runs: int, workers: int = 1, resamples: int = 0) -> dict[str, np.ndarray]:
    """Every number of `one_run`, (runs,) each."""
    task = partial(one_run, world, resamples=resamples)
    if workers == 1:
        found = [task(number) for number in range(runs)]
    else:
        with ProcessPoolExecutor(workers) as pool:
            found = list(pool.map(task, range(runs), chunksize=8))
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def worlds() -> list[World]:
    null, one = World("no effect"), World("no effect, one control", controls=("real-equal-steps",), twin=None)
    found = [replace(world, seeds=seeds) for world in (null, one) for seeds in (3, 5, 8)]
    found.append(World("+1 point, the margin, filter dropped nothing", gain=1, twin=None))
    found += [World("+3 points, filter dropped nothing", gain=3, twin=None, seeds=seeds) for seeds in (3, 5, 8)]
    found += [
        World("+3 points, 1,500 test images", gain=3, twin=None, seeds=8, per_class=125),
        World("+6 points, filter dropped nothing", gain=6, twin=None, seeds=8),
        World("+6 points, useless filter", gain=6, twin=6, seeds=8),
        World("+6 points, but -6 where training images are few", gain=6, few=-6, twin=None, seeds=8),
        World("-3 points", gain=-3, twin=-3, seeds=8),
    ]
    return found


def share(values: np.ndarray) -> str:
    """A share of runs in %, with its 95 % interval."""
    low, high = wilson(round(values.sum()), len(values))
    return f"{100 * values.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def section(results: dict[World, dict[str, np.ndarray]], command: str, wall: float) -> str:
    lines = [
        f"## {TITLE}", "",
        f"`{command}` at {commit_of(ROOT / 'results')}, {wall / 60:.0f} min. Four methods, all core controls unless said, 300 "
        f"test images of 12 species in groups of one to several, margin {CFG['delta_points']:g} point, margin of a tier "
        f"{CFG['delta_tier_points']:g} points. *Any adopted*: runs that adopt at least one of the four methods, with its 95 % "
        "interval; *shown better*: runs in which at least one method has its corrected interval above 0 against every control, "
        "whatever its size, tiers and species; *any called worse*: runs that say of at least one method that it is worse than a "
        "control; *covered*: share of 95 % intervals that hold the true difference, by the formula and by crossed bootstrap.", "",
        "| truth | seeds | runs | any adopted, % | any shown better, % | any called worse, % | methods adopted, % | do not use, % | inconclusive, % | half width, points | covered, % | by bootstrap, % |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for world, found in results.items():
        mean = {name: 100 * values.mean() for name, values in found.items()}
        lines.append(
            f"| {world.name} | {world.seeds} | {len(found['any'])} | {share(found['any'])} | {mean['shown']:.1f} | {mean['worse']:.1f} | {mean['adopt']:.1f} | "
            f"{mean['against']:.1f} | {100 - mean['adopt'] - mean['against']:.1f} | {mean['half'] / 100:.1f} | "
            f"{mean['covered']:.1f} | {mean['bootstrap']:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=int, default=1000, help="of every truth without an effect worth using; a quarter of it with one"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--resamples", type=int, default=400)
    given = parser.parse_args()
    began, results = time.monotonic(), {}
    for world in worlds():
        runs = given.runs if abs(world.gain) <= CFG["delta_points"] else max(given.runs // 4, 1)
        results[world] = rates(world, runs, given.workers, given.resamples)
        print(
            f"{world.name}, {world.seeds} seeds: adopted in {share(results[world]['any'])} % of {runs} runs", flush=True
        )
    command = f"python benchmarks/verdict.py --runs {given.runs}"
    put(PAGE, HEAD, TITLE, section(results, command, time.monotonic() - began))
    print(f"wrote {PAGE.name}: {TITLE}")
