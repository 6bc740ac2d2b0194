"""The cheapest next run that would settle what this one left open, from its own noise and its own costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from taxaforge.evaluation.comparisons import EXTENDED_CONTROLS, RANDOM_DROP, control_arm, estimate_of
from taxaforge.evaluation.power import factor_needed, seeds_needed
from taxaforge.evaluation.statistics import Estimate

CLASSIFIER_RULES = ("train_classifier", "score_classifier")
FACTORS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
FIRST_SEEDS = 5
"""Seeds of a first look, where a run has too few to estimate chance."""
AS_IT_LOOKS = " if the difference is as large as it looks"


@dataclass(frozen=True)
class Run:
    """What a plan starts from.

    arms: all of the configuration; seeds, test: of the configuration, test images a species; wall_s: of all jobs of
    one run; classifiers_s: of training and scoring all its arms and seeds. None where it was not recorded. runs: how
    many are joined; from 2 on each counts as one seed, with training images and a generator of its own.
    """

    arms: Sequence[str]
    seeds: int
    test: int
    wall_s: float | None
    classifiers_s: float | None
    runs: int = 1

    @property
    def draws(self) -> int:
        """What the statistics count as seeds."""
        return self.seeds if self.runs == 1 else self.runs

    @property
    def again_s(self) -> float | None:
        """Seconds of jobs of all runs, where everything is made again."""
        return None if self.wall_s is None else self.wall_s * self.runs

    def wall_of(self, draws: int) -> float | None:
        """Seconds of jobs that so many more draws would take."""
        if self.runs > 1:
            return None if self.wall_s is None else self.wall_s * draws
        return None if self.classifiers_s is None else self.classifiers_s / self.seeds * draws


@dataclass(frozen=True)
class Question:
    """A true difference (points) that one comparison must be able to find at a level."""

    estimate: Estimate
    effect: float
    alpha: float


def run_of(spent: Sequence[Mapping], cfg: Mapping) -> Run:
    """spent: rows of COST. cfg: arms, seeds, test, runs."""
    classifiers = [row["wall_s"] for row in spent if row["level"] == "rule" and row["name"] in CLASSIFIER_RULES]
    total = [row["wall_s"] for row in spent if row["level"] == "total" and row["jobs"]]
    counts = (cfg["arms"], cfg["seeds"], cfg["test"])
    return Run(*counts, total[0] if total else None, sum(classifiers) if classifiers else None, cfg["runs"])


def next_rows(verdicts: Sequence[Mapping], compared: Sequence[Mapping], run: Run, cfg: Mapping) -> list[dict]:
    """Rows of NEXT_RUN: every option for every method whose overall verdict is inconclusive. cfg: as for VERDICT."""
    rows = []
    for verdict in verdicts:
        if verdict["scope"] != "all" or verdict["verdict"] != "inconclusive":
            continue
        options = _options(verdict, [row for row in compared if row["method"] == verdict["method"]], run, cfg)
        possible = [option for option in options if option[1]]
        cheapest = min(possible, key=lambda option: np.inf if option[2] is None else option[2], default=None)
        for option in options:
            name, change, cost, words = option
            rows.append(
                {
                    "method": verdict["method"],
                    "obstacle": verdict["obstacle"],
                    "option": name,
                    "change": change,
                    "wall_s": cost,
                    "cheapest": option is cheapest,
                    "sentence": words + (f" It takes about {_time(cost)} of jobs more." if cost is not None else ""),
                }
            )
    return rows


def _options(verdict: Mapping, mine: Sequence[Mapping], run: Run, cfg: Mapping) -> list[tuple]:
    """(option, change, wall seconds, sentence) of everything that would settle one method."""
    method, obstacle = verdict["method"], verdict["obstacle"]
    missing = [control_arm(name, method) for name in verdict["missing_controls"].split("; ") if name]
    if obstacle == "untested":
        wanted = [arm for arm in (f"real+{method}", "real") if arm not in run.arms]
        return [_add(wanted, run, f"Train the arms that test it: {', '.join(wanted)}.")]
    if obstacle == "controls":
        return [
            _add(missing, run, f"It has beaten every control that ran; train those that did not: {', '.join(missing)}.")
        ]
    if obstacle == "unaudited":
        return [("audit", "", None, verdict["reason"])]
    if obstacle == "alike":
        words = "Both are right on the same photographs; harder or more test images are needed."
        return [("none", "", None, words)]
    if obstacle == "species":
        return [
            (
                "none",
                "",
                None,
                "No number of seeds settles it: some species are harmed. Leave its images out for these.",
            )
        ]
    questions = _questions(obstacle, verdict, mine, cfg)
    options = _more(questions, run) if questions else []
    if obstacle == "filter" and verdict["filter"] == "no better than random":
        words = f"Its filter is shown to be useless; draw {method} without it and compare again."
        options = [("no filter", "filter: turn its checks off", run.again_s, words)]
    if not options and obstacle == "tier" and any(question.effect <= 0 for question in questions):
        words = (
            "No number of seeds settles it: a tier loses more than its margin. Leave its images out for these species."
        )
        return [("none", "", None, words)]
    if not options:
        words = "Neither more seeds nor more test images would settle it: the difference is too close to the margin."
        return [("none", "", None, words)]
    return options


def _questions(obstacle: str, verdict: Mapping, mine: Sequence[Mapping], cfg: Mapping) -> list[Question]:
    """What the next run must be able to tell, if the differences are as large as they look.

    A difference under the margin is to be told from the margin, one above it from nothing.
    """
    alpha, delta, tier = cfg["alpha"], cfg["delta_points"], cfg["delta_tier_points"]
    core = [row for row in mine if row["scope"] == "all" and row["control"] not in EXTENDED_CONTROLS]
    ask = lambda row, effect: Question(estimate_of(row), effect, alpha / row["family"])  # noqa: E731
    if obstacle == "filter":
        return [ask(row, delta) for row in core if row["control"] == RANDOM_DROP]
    if obstacle == "small gain":  # is the gain above the margin, or below?
        row = next(row for row in core if row["control"] == verdict["control"])
        return [ask(row, abs(delta - row["difference_points"]))]
    if obstacle == "tier":
        exposed = [r for r in mine if r["scope"].startswith("tier:") and r["low_points"] < -tier]
        exposed = [r for r in exposed if r["control"] not in (*EXTENDED_CONTROLS, RANDOM_DROP)]
        return [Question(estimate_of(r), r["difference_points"] + tier, alpha) for r in exposed]
    lacking = [row for row in core if not (row["low_points"] > 0 and row["p_holm"] <= alpha)]
    lacking = [row for row in lacking if row["control"] != RANDOM_DROP]
    below = [Question(estimate_of(row), delta - row["difference_points"], alpha) for row in lacking]
    below = [question for question in below if question.effect > 0]
    if below:  # one control that a gain worth using is excluded against is enough to advise against the method
        return [max(below, key=lambda q: q.effect / q.estimate.se if q.estimate.se > 0 else 0)]
    return [ask(row, row["difference_points"]) for row in lacking]


def _more(questions: Sequence[Question], run: Run) -> list[tuple]:
    """Options of more seeds, more test images, or both. Empty where nothing in reach would do."""
    unknown = [q.estimate for q in questions if not q.estimate.df]
    if unknown:
        few = any(estimate.seeds < 2 for estimate in unknown)
        seeds = max(FIRST_SEEDS, run.draws + 2) if few else run.draws
        if any(estimate.df_groups < 1 for estimate in unknown):
            words = "Chance cannot be estimated: it takes test images of at least two observation groups a species"
            return [(*_images(2.0, seeds, run)[:3], f"{words}{', and two seeds' * few}.")]
        return [_seeds(seeds, run, f"Chance cannot be estimated yet; {seeds} seeds are a first look.")]
    questions = [q for q in questions if q.estimate.se > 0]
    if not questions or any(q.effect <= 0 for q in questions):
        return []
    options = []
    seeds = _most(seeds_needed(q.estimate, q.effect, q.alpha) for q in questions)
    if seeds and seeds > run.draws:
        options.append(_seeds(seeds, run, f"About {seeds} seeds would settle it{AS_IT_LOOKS}."))
    factor = _most(factor_needed(q.estimate, q.effect, q.alpha) for q in questions)
    if factor and factor > 1:
        options.append(_images(factor, run.draws, run))
    if not options:
        both = [
            (factor, _most(seeds_needed(q.estimate, q.effect, q.alpha, factor=factor) for q in questions))
            for factor in FACTORS
        ]
        both = [(factor, max(seeds, run.draws)) for factor, seeds in both if seeds]
        if both:
            possible = [_images(factor, seeds, run) for factor, seeds in both]
            options.append(min(possible, key=lambda option: np.inf if option[2] is None else option[2]))
    return options


def _most(values) -> float | None:
    """The largest, None where one of them is out of reach."""
    values = list(values)
    return None if None in values else max(values, default=None)


def _seeds(seeds: int, run: Run, words: str) -> tuple:
    change = f"classification.seeds: {seeds}" if run.runs == 1 else f"evaluation.beside: {seeds - 1} other draws"
    return "seeds", change, run.wall_of(seeds - run.draws), words


def _images(factor: float, seeds: int, run: Run) -> tuple:
    """Other splits are other training images, so everything is made again."""
    test, more = int(np.ceil(run.test * factor)), seeds > run.draws
    change = f"split.test: {test}" + f", {_seeds(seeds, run, '')[1]}" * more
    costs = (run.again_s, run.wall_of(seeds - run.draws))
    cost = None if None in costs else sum(costs)
    words = f"{test} test images a species{f' and {seeds} seeds' * more} would settle it{AS_IT_LOOKS}, and if so many can be had."
    return "seeds and test images" if more else "test images", change, cost, words


def _add(arms: Sequence[str], run: Run, words: str) -> tuple:
    known = run.classifiers_s is not None and run.arms
    cost = run.classifiers_s / len(run.arms) * len(arms) * run.runs if known else None
    return "controls", f"classification.arms: add {', '.join(arms)}", cost, words


def _time(seconds: float) -> str:
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
