"""What a percentage point of accuracy cost: an arm's jobs beyond its hardest control's, over the gain."""

from collections.abc import Mapping, Sequence

from taxaforge.evaluation.comparisons import EXTENDED_CONTROLS, OWN_CONTROLS

UNITS = {"wall_s": "extra_wall_s", "device_s": "extra_device_s", "energy_wh": "extra_energy_wh"}


def efficiency_rows(
    compared: Sequence[Mapping],
    spent: Sequence[Mapping],
    accuracy: Mapping[str, float],
    images: Mapping[str, tuple[int, int]],
    trials: Mapping[str, int],
) -> list[dict]:
    """Rows of EFFICIENCY.

    Args:
        compared: rows of COMPARISONS. spent: rows of COST. accuracy: mean macro accuracy of every arm, 0..1.
        images: method -> (drawn, kept). trials: arm -> settings tried on validation, 1 where it is not in.
    """
    cost = {row["name"]: row for row in spent if row["level"] == "arm"}
    best = _undominated(accuracy, {arm: row["wall_s"] for arm, row in cost.items() if row["jobs"]})
    rows = []
    for method, (drawn, kept) in images.items():
        row, arm = hardest(compared, method), f"real+{method}"
        tried = {"trials": trials.get(arm, 1), "control_trials": row and trials.get(row["control"], 1)}
        rows.append(_row(method, row, cost, drawn, kept) | tried | {"pareto": arm in best})
    return rows


def hardest(compared: Sequence[Mapping], method: str) -> Mapping | None:
    """Against which control of real images alone a method gains least."""
    mine = [
        row for row in compared
        if row["method"] == method and row["scope"] == "all"
        and row["control"] not in OWN_CONTROLS and row["control"] not in EXTENDED_CONTROLS
    ]  # fmt: skip
    return min(mine, key=lambda row: (row["difference_points"], row["control"]), default=None)


def _row(method: str, row: Mapping | None, cost: Mapping, drawn: int, kept: int) -> dict:
    mine, other = (cost.get(row["arm"]), cost.get(row["control"])) if row else (None, None)
    extra = dict.fromkeys(UNITS)
    if mine and other and mine["jobs"] and other["jobs"]:
        extra = {unit: _less(mine[unit], other[unit]) for unit in UNITS}
    gain = (row["difference_points"], row["low_points"], row["high_points"]) if row else (None, None, None)
    status = state(*gain) if row else "undefined: the method has no arm or no control"
    defined = status == "defined"
    per = {unit: per_point(extra[unit], *gain) if defined else None for unit in UNITS}
    wall, device, energy = (per[unit] or (None, None, None) for unit in UNITS)
    return {
        "method": method,
        "control": row["control"] if row else None,
        "gain_points": gain[0],
        "low_points": gain[1],
        "high_points": gain[2],
        **{UNITS[unit]: extra[unit] for unit in UNITS},
        "drawn": drawn,
        "kept": kept,
        "wall_s_per_point": wall[0],
        "wall_s_per_point_low": wall[1],
        "wall_s_per_point_high": wall[2],
        "device_s_per_point": device[0],
        "device_s_per_point_low": device[1],
        "device_s_per_point_high": device[2],
        "energy_wh_per_point": energy[0],
        "images_per_point": drawn / gain[0] if defined else None,
        "cost_per_point": status,
    }


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def state(gain: float, low: float, high: float) -> str:
    """Whether there is a cost per point: "defined" where the whole interval is above 0."""
    if low > 0:
        return "defined"
    if high < 0:
        return "none: a control without its images does better"
    return f"undefined: the gain may be nothing ({low:+.1f} to {high:+.1f} points)"


def per_point(cost: float | None, gain: float, low: float, high: float) -> tuple[float, float, float] | None:
    """(cost / gain, and its interval), for a gain whose interval is above 0.

    Fieller's interval of a ratio whose numerator is known: the costs were measured in this run and have no spread in
    it, so the ratio is cost / gain over the interval of the gain. A negative cost (cheaper than the control) is a saving.
    """
    if cost is None:
        return None
    ends = sorted((cost / low, cost / high))
    return cost / gain, ends[0], ends[1]


def _undominated(accuracy: Mapping[str, float], cost: Mapping[str, float]) -> set[str]:
    """Arms that no other arm equals or beats in accuracy at less cost, or beats at the same cost."""
    arms = [arm for arm in accuracy if arm in cost]
    return {
        arm
        for arm in arms
        if not any(
            accuracy[other] >= accuracy[arm] and cost[other] <= cost[arm]
            and (accuracy[other] > accuracy[arm] or cost[other] < cost[arm])
            for other in arms
        )
    }  # fmt: skip
