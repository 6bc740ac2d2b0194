import numpy as np
import pytest

from taxaforge import tables
from taxaforge.evaluation.efficiency import efficiency_rows, hardest, per_point, state
from taxaforge.evaluation.schema import EFFICIENCY


def compared(method, control, gain, low, high, scope="all"):
    points = {"difference_points": gain, "low_points": low, "high_points": high}
    return {"method": method, "arm": f"real+{method}", "control": control, "scope": scope} | points


def spent(name, wall, device=0.0, energy=None, level="arm", jobs=5):
    return {"level": level, "name": name, "wall_s": wall, "device_s": device, "energy_wh": energy, "jobs": jobs}


COST = [
    spent("real", 100.0, 10.0),
    spent("balanced", 120.0, 12.0),
    spent("real+a", 720.0, 42.0),
    spent("real+b", 110.0, 12.0),
]
COMPARED = [
    compared("a", "real", 6, 4, 8), compared("a", "balanced", 3, 2, 6), compared("a", "real+cfg", 1, 0, 2),
    compared("a", "random-drop", 0, -1, 1), compared("b", "real", 2, -1, 5), compared("a", "real", -9, -10, -8, "species:x"),
]  # fmt: skip
ACCURACY = {"real": 0.5, "balanced": 0.53, "real+a": 0.56, "real+b": 0.52}


def row_of(method, compared=COMPARED, cost=COST):
    rows = efficiency_rows(compared, cost, ACCURACY, {"a": (300, 200), "b": (100, 100)}, {"real+a": 6, "balanced": 4})
    EFFICIENCY.check(rows, "efficiency.csv")
    return next(row for row in rows if row["method"] == method)


def test_a_point_costs_the_jobs_beyond_the_hardest_control_over_the_gain():
    row = row_of("a")
    assert (row["control"], row["gain_points"], row["extra_wall_s"], row["extra_device_s"]) == ("balanced", 3, 600, 30)
    assert (row["wall_s_per_point"], row["wall_s_per_point_low"], row["wall_s_per_point_high"]) == (200, 100, 300)
    assert (row["device_s_per_point"], row["device_s_per_point_low"], row["device_s_per_point_high"]) == (10, 5, 15)
    assert row["images_per_point"] == 100 and row["cost_per_point"] == "defined"
    assert (row["trials"], row["control_trials"], row_of("b")["trials"]) == (6, 4, 1)
    assert row["extra_energy_wh"] is row["energy_wh_per_point"] is None


def test_the_controls_that_draw_images_themselves_set_no_price():
    assert hardest(COMPARED, "a")["control"] == "balanced"
    assert hardest([compared("a", "label-shuffled", 1, 0, 2)], "a") is None


def test_energy_is_priced_where_it_was_read():
    cost = [spent("balanced", 120.0, energy=2.0), spent("real+a", 720.0, energy=8.0)]
    assert row_of("a", cost=cost)["energy_wh_per_point"] == 2.0


@pytest.mark.parametrize("gain, low, high, words", [
    (0, 0, 0, "undefined"), (2, -1, 5, "undefined"), (-3, -5, -1, "none"), (-3, -5, 0, "undefined"), (1, 0.1, 2, "defined"),
])  # fmt: skip
def test_a_gain_that_may_be_nothing_has_no_price(gain, low, high, words):
    """Identical arms (0, 0, 0) are undefined, not free and not infinitely dear."""
    assert state(gain, low, high).split(":")[0] == words and "made the classifier worse" not in state(gain, low, high)
    row = row_of("a", [compared("a", "balanced", gain, low, high)])
    assert (row["wall_s_per_point"] is None) == (words != "defined")


def test_the_interval_is_fiellers_for_a_cost_without_spread():
    """Fieller: all r with (c - r d)^2 <= t^2 r^2 se^2, found on a grid, against a quotient of ends."""
    cost, gain, se, t = 50.0, 4.0, 1.1, 2.2
    r = np.linspace(1, 100, 2_000_001)
    inside = r[(cost - r * gain) ** 2 <= t**2 * r**2 * se**2]
    found = per_point(cost, gain, gain - t * se, gain + t * se)
    assert found == pytest.approx((cost / gain, inside.min(), inside.max()), abs=1e-3)
    assert per_point(-50.0, 4, 2, 8) == (-12.5, -25, -6.25)  # cheaper than its control
    assert per_point(None, 4, 2, 8) is None


def test_the_front_holds_the_arms_that_none_beats_for_less():
    assert row_of("a")["pareto"] and row_of("b")["pareto"]
    dear = [row | {"wall_s": 125.0} if row["name"] == "real+b" else row for row in COST]
    assert not row_of("b", cost=dear)["pareto"]  # `balanced` is more accurate and cheaper


def test_what_did_not_run_or_was_not_measured_is_empty(tmp_path):
    row = row_of("b", [])
    assert row["control"] is None and row["cost_per_point"].startswith("undefined: the method has no arm")
    unmeasured = row_of("a", cost=[spent("balanced", 0.0, jobs=0), spent("real+a", 0.0, jobs=0)])
    assert unmeasured["extra_wall_s"] is None and unmeasured["wall_s_per_point"] is None
    tables.write(EFFICIENCY, [row, unmeasured], tmp_path / "e.csv")
    assert tables.read(EFFICIENCY, tmp_path / "e.csv") == [row, unmeasured]
