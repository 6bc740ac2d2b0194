"""Naming species without training images: what each arm gains on them, and what that costs on the others."""

from collections.abc import Mapping, Sequence

import numpy as np

from taxaforge.report.style import GRID, MUTED, Drawing, arm_name, canvas, colours

RAYS = np.linspace(0, np.pi / 2, 361)
"""Directions from the origin, from the U axis to the S axis, along which the curves of several seeds are averaged:
every curve crosses each once, and neither axis is preferred."""


def unseen_seen(rows: Sequence[Mapping], points: Sequence[Mapping], arms: Sequence[str] = ()) -> Drawing | None:
    """The U-S curve of every arm: mean over seeds and their range, the chosen handicap and plain argmax marked.

    Args:
        rows: table ZERO_SHOT. points: table ZERO_SHOT_CURVE. arms: their order; empty: that of `rows`.
    """
    found = {(row["arm"], row["seed"], row["metric"]): row for row in rows}
    known = list(dict.fromkeys(row["arm"] for row in rows))
    arms = [arm for arm in (arms or known) if arm in known]
    if not arms:
        return None
    figure, (axis,) = canvas(4.6, width=6.4)
    palette, told = colours(arms), []
    reach = 100 * max(0.05, *(point[side] for point in points for side in "us"))
    _same_harmonic_mean(axis, reach)
    for arm in arms:
        seeds = _curves([point for point in points if point["arm"] == arm])
        reached = np.array([_reach(line) for line in seeds])
        mean, low, high = (100 * r * np.stack([np.cos(RAYS), np.sin(RAYS)]) for r in _summary(reached))
        colour = palette[arm]
        if len(seeds) > 1:
            axis.fill(*np.concatenate([low, high[:, ::-1]], axis=1), color=colour, alpha=0.15, lw=0)
        axis.plot(*mean, color=colour, lw=1.6)
        plain = np.mean([next(point for point in line if point[0] == 0)[1:] for line in seeds], axis=0)
        axis.plot(*(100 * plain), "o", ms=6, mfc="white", mec=colour, mew=1.4, zorder=4)
        values = {metric: found[arm, "mean", metric] for metric in ("U", "S", "H", "T1", "AUSUC", "lambda")}
        u, s = values["U"], values["S"]
        for side, other, across in ((u, s, False), (s, u, True)):
            if side["low"] is not None:
                span, still = [100 * side["low"], 100 * side["high"]], [100 * other["value"]] * 2
                axis.plot(*((still, span) if across else (span, still)), color=colour, lw=1, zorder=4)
        axis.plot(
            100 * u["value"],
            100 * s["value"],
            "o",
            ms=7,
            color=colour,
            mec="white",
            mew=0.8,
            zorder=5,
            label=f"{arm_name(arm)}: H {values['H']['value']:.0%}",
        )
        told.append(
            f"{arm_name(arm)}: U {u['value']:.0%}, S {s['value']:.0%}, H {values['H']['value']:.0%} at handicap "
            f"{values['lambda']['value']:.2f}, T1 {values['T1']['value']:.0%}, area {values['AUSUC']['value']:.2f}"
        )
    axis.set_xlim(-0.02 * reach, 1.04 * reach)
    axis.set_ylim(-0.02 * reach, 1.04 * reach)
    axis.set_xlabel("species without training images named right (U, %)")
    axis.set_ylabel("species with training images named right (S, %)")
    axis.grid(color=GRID, lw=0.6)
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside upper left", ncols=-(-len(arms) // -(-len(arms) // 3))
    )
    return Drawing(
        figure,
        f"Unseen against seen species: {'; '.join(told)}.",
        "Each curve: all handicaps that the species with training images can be given, from the largest favour (upper left) "
        "to the largest handicap (lower right); mean over seeds, band from the lowest to the highest. Ring: no handicap. Filled, "
        "with 95% intervals: the handicap that validation images chose. Dotted: equal harmonic mean H (%). Further to the "
        "upper right is better.",
    )


def _same_harmonic_mean(axis, reach: float) -> None:
    """Dotted lines of equal H = 2US/(U+S), in percent."""
    step = 20 if reach > 50 else 10 if reach > 25 else 5
    edge = 1.04 * reach
    for h in np.arange(step, reach, step):
        u = np.geomspace(h * edge / (2 * edge - h), edge, 200)
        s = h * u / (2 * u - h)
        axis.plot(u, s, color="#bbbbbb", lw=0.8, ls=(0, (1, 2)), zorder=1)
        axis.annotate(
            f"H {h:g}",
            (edge, s[-1]),
            (3, 0),
            textcoords="offset points",
            va="center",
            size=7,
            color=MUTED,
            annotation_clip=False,
        )


def _curves(points: Sequence[Mapping]) -> list[list[tuple[float, float, float]]]:
    """(handicap, u, s) in growing order of the handicap, one list a seed."""
    seeds: dict[str, list[tuple[float, float, float]]] = {}
    for point in points:
        seeds.setdefault(point["seed"], []).append((point["lambda"], point["u"], point["s"]))
    return [sorted(line) for line in seeds.values()]


def _reach(line: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """How far from the origin a curve lies in each direction of RAYS."""
    u, s = np.array(line)[:, 1:].T
    fine = np.linspace(0, len(u) - 1, 24 * (len(u) - 1) + 1)
    u, s = (np.interp(fine, np.arange(len(values)), values) for values in (u, s))
    apart = (u > 0) | (s > 0)
    if not apart.any():
        return np.zeros(len(RAYS))
    u, s = u[apart][::-1], s[apart][::-1]
    return np.interp(RAYS, np.arctan2(s, u), np.hypot(u, s))


def _summary(reached: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lowest and highest over seeds."""
    return reached.mean(0), reached.min(0), reached.max(0)
