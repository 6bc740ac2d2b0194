"""What came of it: image metrics, accuracy, differences, confusion, species, cost."""

from collections.abc import Mapping, Sequence

import numpy as np

from taxaforge.report.style import (
    BAND,
    CONTROL,
    GRID,
    MUTED,
    REAL,
    Drawing,
    arm_name,
    canvas,
    colours,
    duration,
    listed,
)

METRICS = {
    "recognised": ("recognised", "share of images", "higher is better"),
    "fd": ("Fréchet distance (fd)", "feature units²", "lower is better"),
    "kid": ("kernel distance (kid)", "feature units", "lower is better"),
    "precision": ("precision", "share of generated", "higher is better"),
    "recall": ("recall", "share of real", "higher is better"),
    "density": ("density", "relative to real", "higher is better"),
    "coverage": ("coverage", "share of real", "higher is better"),
    "cmmd": ("CLIP distance (cmmd)", "1000 × feature units", "lower is better; never alone"),
    "vendi": ("Vendi diversity", "effective images", "near real is best"),
    "lpips": ("LPIPS diversity", "mean distance in a species", "near real is best"),
    "layer_diversity": ("layer diversity", "mean distance in a species", "near real is best"),
    "text_alignment": ("fit to the name", "cosine", "near real is best"),
    "clip_score": ("CLIP score", "100 × cosine", "near real is best"),
    "species_top1": ("named by its text", "share of images", "near real is best"),
    "sibling_margin": ("margin to siblings", "cosine", "near real is best"),
    "nearest_train": ("nearest training image", "cosine similarity", "above real hints at copies"),
}
"""Image metrics in the order of the figure: heading, unit, how to read."""

UNKNOWN = 99.0  # points: intervals this wide mean that none could be estimated


def image_metrics(rows: Sequence[Mapping]) -> Drawing | None:
    """A panel a metric: each method with its range over the band that as many real images reach. rows: images.csv."""
    rows = [row for row in rows if row["scope"] == "all" and row["value"] is not None]
    methods = list(dict.fromkeys(row["method"] for row in rows if row["method"] != "real"))
    models = dict.fromkeys(row["features"] for row in rows)
    found = {(row["features"], row["metric"]) for row in rows}
    shown = [(model, metric) for model in models for metric in METRICS if (model, metric) in found]
    if not methods or not shown:
        return None
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure, axes = canvas(lines * (0.75 + 0.22 * len(methods)) + 0.2, columns, lines, sharey=True)
    palette = colours(methods)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    for axis, (model, metric) in zip(axes, shown, strict=False):
        title, unit, _ = METRICS[metric]
        mine = {row["method"]: row for row in rows if (row["features"], row["metric"]) == (model, metric)}
        for place, method in enumerate(methods):
            row = mine.get(method)
            if row is not None:
                _floor(axis, row, place)
                _interval(axis, row["value"], row["low"], row["high"], place, palette[method])
        axis.set_title(f"{title}{_by(model)}")
        axis.set_xlabel(unit)
        axis.use_sticky_edges = False  # a band may end at the limit of the panel, a point may not
        axis.margins(x=0.12)
        axis.locator_params(axis="x", nbins=4)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color=GRID, lw=0.6)
    axes[0].set_yticks(range(len(methods)), methods)
    axes[0].set_ylim(len(methods) - 0.5, -0.5)
    told = [
        f"{METRICS[row['metric']][0]}{_by(row['features'])} of {row['method']} {row['value']:.3g}"
        for row in rows
        if row["method"] in methods and row["metric"] in METRICS
    ]
    return Drawing(
        figure,
        f"Image metrics: {'; '.join(told)}.",
        "Point: a method. Line: for shares and likenesses the 95% interval; for distances and diversity the middle 95% over "
        "draws of the real half, which leaves out the chance in the generated images. Dashed line and grey band: the same for "
        "real images against real ones, at the method's number of images where that matters; a method inside its band cannot "
        "be told from real at this number of images."
        f"{''.join(_partial(rows, model) for model in models)}",
    )


def _floor(axis, row: Mapping, place: int) -> None:
    """Behind a method what real images reach against real ones, at that method's own number of images."""
    if None not in (low := row["floor_low"], high := row["floor_high"]):
        axis.barh(place, high - low, left=low, height=0.9, color=BAND, lw=0, zorder=0)
    if (floor := row["floor"]) is not None:
        axis.plot([floor, floor], [place - 0.45, place + 0.45], color=REAL, lw=1, ls=(0, (4, 2)), zorder=1)


def _by(model: str) -> str:
    """Which model measured, where it is not the judge."""
    return "" if model == "judge" else f", {model}"


def _partial(rows: Sequence[Mapping], model: str) -> str:
    """A sentence on the methods of which a model is no independent judge, where there are any."""
    methods = dict.fromkeys(row["method"] for row in rows if row["features"] == model and not row["independent"])
    return f" {model} filtered or guided {listed(list(methods))}: no independent judge of them." if methods else ""


def accuracy(rows: Sequence[Mapping], arms: Sequence[str]) -> Drawing | None:
    """Macro accuracy of every arm: interval of the mean, a dot a seed. rows: accuracy.csv."""
    rows = [row for row in rows if row["scope"] == "all" and row["metric"] == "macro_top1"]
    mean = {row["arm"]: row for row in rows if row["seed"] == "mean"}
    arms = [arm for arm in arms if arm in mean]
    if not arms:
        return None
    figure, (axis,) = canvas(0.42 * len(arms) + 0.8)
    palette = colours(arms)
    for place, arm in enumerate(arms):
        seeds = [row["value"] * 100 for row in rows if row["arm"] == arm and row["seed"] != "mean"]
        axis.scatter(
            seeds,
            np.full(len(seeds), place + 0.22),
            s=14,
            facecolor="none",
            edgecolor=palette[arm],
            linewidth=1,
        )
        row = mean[arm]
        low, high = (None if row[side] is None else row[side] * 100 for side in ("low", "high"))
        _interval(axis, row["value"] * 100, low, high, place, palette[arm])
    axis.set_yticks(range(len(arms)), [arm_name(arm) for arm in arms])
    axis.set_ylim(len(arms) - 0.4, -0.6)
    axis.set_xlabel("macro accuracy on test images (%)")
    axis.margins(x=0.08)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color=GRID, lw=0.6)
    told = [f"{arm_name(arm)} {mean[arm]['value']:.1%}{_bounds(mean[arm])}" for arm in arms]
    return Drawing(
        figure,
        f"Macro accuracy: {'; '.join(told)}.",
        "Filled: mean over seeds with its interval; rings: single seeds. Macro accuracy is the mean over species of the "
        "share of their test images that are named right. Overlapping intervals do not settle a comparison: seeds are "
        "paired, look at the differences.",
    )


def _bounds(row: Mapping) -> str:
    return "" if row["low"] is None else f" ({row['low']:.1%} to {row['high']:.1%})"


def differences(rows: Sequence[Mapping], delta: float) -> Drawing | None:
    """Forest plot: each method against each control, with the margin that is worth using. rows: comparisons.csv."""
    rows = [row for row in rows if row["scope"] == "all"]
    if not rows:
        return None
    figure, (axis,) = canvas((0.36 if len(rows) <= 20 else 0.2) * len(rows) + 1.0)
    palette = colours([row["method"] for row in rows])
    finite = [value for row in rows for value in _ends(row) if abs(value) < UNKNOWN]
    reach = 1.15 * max([delta, *map(abs, finite)])
    axis.axvspan(-delta, delta, color=BAND, lw=0)
    axis.axvline(0, color=REAL, lw=1)
    for place, row in enumerate(rows):
        low, high = row["low_points"], row["high_points"]
        known = low > -UNKNOWN or high < UNKNOWN
        bounds = (low, high) if known else (None, None)
        _interval(axis, row["difference_points"], *bounds, place, palette[row["method"]])
        if not known:
            axis.annotate(
                "no interval",
                (row["difference_points"], place),
                (6, 0),
                textcoords="offset points",
                va="center",
                size=7.5,
                color=MUTED,
            )
    axis.set_yticks(range(len(rows)), [f"{row['method']} vs {arm_name(row['control'])}" for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(-reach, reach)
    axis.set_xlabel(
        "difference in macro accuracy (percentage points)\n← worse with the images · better with the images →"
    )
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color=GRID, lw=0.6)
    told = [
        f"{row['method']} against {arm_name(row['control'])} {row['difference_points']:+.1f} points "
        f"({row['low_points']:+.1f} to {row['high_points']:+.1f})"
        for row in rows
    ]
    return Drawing(
        figure,
        f"Difference in macro accuracy: {'; '.join(told)}.",
        f"Right of zero: the method's images helped. Grey band: ±{delta:g} points, the margin fixed before the run, inside "
        "which a difference is not worth using. A method is adopted only if it beats every control.",
    )


def _ends(row: Mapping) -> tuple[float, float, float]:
    return row["difference_points"], row["low_points"], row["high_points"]


def confusion(
    matrices: Mapping[str, np.ndarray], species: Sequence[str], groups: Sequence[str | None]
) -> Drawing | None:
    """Who is taken for whom. matrices: arm -> (C, C) shares, rows sum to 1; groups: family of each species."""
    if not matrices or not len(species):
        return None
    columns = min(3 if len(matrices) > 4 else 2, len(matrices))
    lines, n = -(-len(matrices) // columns), len(species)
    figure, axes = canvas({1: 4.6, 2: 2.4, 3: 1.75}[columns] * lines + 2.0, columns, lines, sharex=True, sharey=True)
    for axis in axes[len(matrices) :]:
        axis.set_visible(False)
    edges = [i for i in range(1, n) if groups[i] != groups[i - 1]]
    for axis, (arm, matrix) in zip(axes, matrices.items(), strict=False):
        picture = axis.imshow(100 * matrix, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
        for edge in edges:
            axis.axhline(edge - 0.5, color="#888888", lw=0.6)
            axis.axvline(edge - 0.5, color="#888888", lw=0.6)
        axis.set_title(arm_name(arm))
        if n <= 40:
            size = 7 if n <= 24 else 5
            axis.set_xticks(range(n), species, rotation=90, style="italic", size=size)
            axis.set_yticks(range(n), species, style="italic", size=size)
        else:
            axis.set_xticks([])
            axis.set_yticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(True)
    for axis in axes[: len(matrices)]:
        axis.label_outer()
    figure.supxlabel("named as", size=9)
    figure.supylabel("true species", size=9)
    figure.colorbar(
        picture, ax=axes, label="share of the true species' test images (%)", location="top", shrink=0.6, aspect=40
    )
    return Drawing(
        figure,
        "Confusion matrices, mean over seeds. " + " ".join(_worst(a, m, species) for a, m in matrices.items()),
        "Rows: true species in the order of the tree; columns: the name that was given. Grey lines separate families: "
        "colour inside a family's square is confusion among relatives.",
        raster=True,
    )


def _worst(arm: str, matrix: np.ndarray, species: Sequence[str]) -> str:
    wrong = np.array(matrix, float)
    np.fill_diagonal(wrong, 0)
    if not np.nan_to_num(wrong).any():
        return f"{arm_name(arm)}: no confusion."
    i, j = np.unravel_index(np.nanargmax(wrong), wrong.shape)
    return f"{arm_name(arm)}: most often {species[i]} is taken for {species[j]} ({wrong[i, j]:.0%})."


def species_effect(rows: Sequence[Mapping], species: Sequence[str], control: str, delta: float) -> Drawing | None:
    """The difference for each species, each method against one control. rows: comparisons.csv."""
    rows = [row for row in rows if row["scope"].startswith("species:") and row["control"] == control]
    found = {(row["method"], row["scope"].removeprefix("species:")): row for row in rows}
    methods = list(dict.fromkeys(method for method, _ in found))
    if not methods:
        return None
    figure, (axis,) = canvas((0.14 + 0.13 * len(methods)) * len(species) + 1.1)
    palette = colours(methods)
    finite = [value for row in rows for value in _ends(row) if abs(value) < UNKNOWN]
    reach = 1.1 * max([delta, *map(abs, finite)])
    axis.axvspan(-delta, delta, color=BAND, lw=0)
    axis.axvline(0, color=REAL, lw=1)
    for number, method in enumerate(methods):
        offset = (number - (len(methods) - 1) / 2) * 0.6 / len(methods)
        for place, name in enumerate(species):
            row = found.get((method, name))
            if row is not None:
                known = row["low_points"] > -UNKNOWN or row["high_points"] < UNKNOWN
                bounds = (row["low_points"], row["high_points"]) if known else (None, None)
                _interval(axis, row["difference_points"], *bounds, place + offset, palette[method], size=4)
        axis.plot([], [], "o", color=palette[method], label=method, ms=4)
    axis.set_yticks(range(len(species)), species, style="italic")
    axis.set_ylim(len(species) - 0.4, -0.6)
    axis.set_xlim(-reach, reach)
    axis.set_xlabel(f"difference in accuracy against {arm_name(control)} (percentage points)")
    axis.tick_params(axis="y", length=0)
    axis.grid(color=GRID, lw=0.6)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=len(methods))
    told = []
    for method in methods:
        mine = sorted((row["difference_points"], name) for (m, name), row in found.items() if m == method)
        told.append(f"{method} from {mine[0][0]:+.1f} ({mine[0][1]}) to {mine[-1][0]:+.1f} ({mine[-1][1]})")
    return Drawing(
        figure,
        f"Difference in accuracy by species, in points: {'; '.join(told)}.",
        "Exploratory: with this many species some intervals miss zero by chance. Species in the order of the tree.",
    )


def cost(rows: Sequence[Mapping]) -> Drawing | None:
    """What each arm and each kind of job took. rows: cost.csv."""
    arms = [row for row in rows if row["level"] == "arm"]
    rules = sorted((row for row in rows if row["level"] == "rule"), key=lambda row: -row["wall_s"])
    if not arms and not rules:
        return None
    most = max(row["wall_s"] for row in [*arms, *rules])
    unit, size = ("hours", 3600) if most >= 7200 else ("minutes", 60) if most >= 120 else ("seconds", 1)
    height = [max(1, len(arms)), max(1, len(rules))]
    figure, axes = canvas(0.26 * sum(height) + 1.5, 1, 2, gridspec_kw={"height_ratios": height})
    palette = colours([row["name"] for row in arms])
    for axis, group, title in ((axes[0], arms, "by training set (arm)"), (axes[1], rules, "by kind of job (rule)")):
        for place, row in enumerate(group):
            axis.barh(place, row["wall_s"] / size, color=palette.get(row["name"], CONTROL), height=0.66)
            memory = f", {row['peak_mib'] / 1024:.1f} GiB" if row.get("peak_mib") else ""
            axis.annotate(
                duration(row["wall_s"]) + memory,
                (row["wall_s"] / size, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                size=7.5,
                color=MUTED,
            )
        axis.set_yticks(range(len(group)), [arm_name(row["name"]) if group is arms else row["name"] for row in group])
        axis.set_ylim(max(1, len(group)) - 0.4, -0.6)
        axis.set_xlim(0, 1.28 * max([row["wall_s"] / size for row in group] or [1]))
        axis.set_title(title)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color=GRID, lw=0.6)
        axis.set_xlabel(f"wall time, added up over jobs ({unit})")
    told = [f"{arm_name(row['name'])} {duration(row['wall_s'])}" for row in arms or rules]
    return Drawing(
        figure,
        f"Wall time: {listed(told)}.",
        "Wall time and largest memory of one job. An arm carries everything that it needs, generator and dropped images "
        "included, so arms share costs and do not add up to the total.",
    )


def _interval(axis, value, low, high, place, colour, size=6) -> None:
    """A point with its interval, where there is one."""
    if low is not None and high is not None:
        axis.plot([low, high], [place, place], color=colour, lw=2 if size > 5 else 1.3, solid_capstyle="butt")
    axis.plot([value], [place], "o", color=colour, ms=size, mec="white", mew=0.7)
