"""From predictions to the next run, through the files that jobs hand on."""

import pytest

from taxaforge import tables
from taxaforge.evaluation.accuracy import summarise
from taxaforge.evaluation.comparisons import compare
from taxaforge.evaluation.schema import COST, EFFICIENCY, IMAGES, NEXT_RUN, POWER, VERDICT
from taxaforge.evaluation.verdict import decide
from taxaforge.evaluation.weighing import weigh
from taxaforge.files import write_json, write_lines
from taxaforge.guidance.schema import IMAGES as SYNTHETIC
from taxaforge.tables import TYPES

ACCURACY = {"real": 0.5, "real-equal-steps": 0.5, "real+good": 0.8, "real+open": 0.52}
CFG = {"alpha": 0.05, "delta_points": 1.0, "delta_tier_points": 1.0, "resamples": 0, "arms": list(ACCURACY), "seeds": 5,
       "test": 40, "runs": 1}  # fmt: skip


@pytest.fixture
def weighed(arms, classes, tmp_path, capsys):
    files, methods = arms(ACCURACY), ["good", "open"]
    write_json(tmp_path / "train.json", {"label": [0, 1, 2, 3] * 10})
    paths = {
        name: tmp_path / f"{name}.csv" for name in ("comparisons", "secondary", "accuracy", "images", "verdict", "cost")
    }
    common = {"predictions": files, "classes": classes, "train": tmp_path / "train.json", "cfg": CFG}
    compare(**common, methods=methods, out=paths["comparisons"], out_secondary=paths["secondary"])
    summarise(**common, out=paths["accuracy"])
    tables.write(IMAGES, [], paths["images"])
    empty = {name: None if column.nullable else TYPES[column.type]() for name, column in SYNTHETIC.columns.items()}
    synthetic = {method: tmp_path / f"{method}.parquet" for method in methods}
    for path in synthetic.values():
        rows = [empty | {"identifier": str(i), "kept": i > 0, "control": i > 0} for i in range(40)]
        tables.write(SYNTHETIC, rows, path)
    decide(comparisons=paths["comparisons"], images=paths["images"], methods=methods, arms=list(ACCURACY), cfg=CFG,
           synthetic=synthetic, out=paths["verdict"])  # fmt: skip
    seconds = {"real": 20.0, "real-equal-steps": 30.0, "real+good": 330.0, "real+open": 340.0}
    rows = [("arm", arm, wall) for arm, wall in seconds.items()]
    rows += [("rule", "train_classifier", 100.0), ("rule", "score_classifier", 20.0), ("total", "total", 700.0)]
    measured = {"cpu_s": 1.0, "peak_mib": None, "device_s": 0.0, "energy_wh": None, "jobs": 1}
    tables.write(
        COST, [{"level": level, "name": n, "wall_s": wall} | measured for level, n, wall in rows], paths["cost"]
    )
    write_lines(tmp_path / "h.jsonl", [{"step": 1, "trial": 1}, {"step": 1, "trial": 3}])
    outs = {f"out_{name}": tmp_path / f"{name}.csv" for name in ("efficiency", "power", "next")}
    logged = {}
    weigh(**{n: paths[n] for n in ("comparisons", "verdict", "accuracy", "cost")}, synthetic=synthetic, cfg=CFG, **outs,
          histories=dict.fromkeys(ACCURACY, tmp_path / "h.jsonl"), log=lambda step, values: logged.update(values))  # fmt: skip
    found = {"printed": capsys.readouterr().out, "logged": logged, "verdict": tables.read(VERDICT, paths["verdict"])}
    schemas = {"efficiency": EFFICIENCY, "power": POWER, "next": NEXT_RUN}
    return found | {name: tables.read(schema, outs[f"out_{name}"]) for name, schema in schemas.items()}


def test_a_clear_gain_has_a_price_and_an_open_one_has_none(weighed):
    good, unsure = weighed["efficiency"]
    assert good["cost_per_point"] == "defined" and (good["drawn"], good["kept"], good["trials"]) == (40, 39, 3)
    extra = 310 if good["control"] == "real" else 300
    assert good["wall_s_per_point"] == pytest.approx(extra / good["gain_points"])
    assert good["wall_s_per_point_low"] < good["wall_s_per_point"] < good["wall_s_per_point_high"]
    assert unsure["cost_per_point"].startswith("undefined") and unsure["wall_s_per_point"] is None
    assert weighed["logged"] == {"wall_s_per_point/good": good["wall_s_per_point"]}


def test_every_open_method_is_told_what_would_settle_it(weighed):
    verdicts = {row["method"]: row for row in weighed["verdict"] if row["scope"] == "all"}
    assert verdicts["good"]["obstacle"] == "controls" and verdicts["open"]["obstacle"] == "unbeaten"
    cheapest = {row["method"]: row for row in weighed["next"] if row["cheapest"]}
    wanted = (
        "strong-augmentation, real-duplicated, balanced, label-shuffled+good"  # its filter dropped what chance would
    )
    assert cheapest["good"]["change"] == f"classification.arms: add {wanted}"
    assert cheapest["good"]["wall_s"] == pytest.approx(120 / 4 * 4)
    assert cheapest["open"]["change"]
    for row in cheapest.values():
        assert row["sentence"] in weighed["printed"]


def test_power_stands_beside_every_declared_comparison(weighed):
    assert {(row["method"], row["control"]) for row in weighed["power"]} == {
        (method, control) for method in ("good", "open") for control in ("real", "real-equal-steps")
    }
    assert "four times out of five" in weighed["printed"]
