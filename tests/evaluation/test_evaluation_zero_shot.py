"""Calibrated stacking, its curve, and the zero-shot table, against plain loops, hand-made sums and planted images."""

import ast
from pathlib import Path

import numpy as np
import pytest

from taxaforge import tables
from taxaforge.classification import model
from taxaforge.classification.predict import load, predict
from taxaforge.collection.roles import Misplaced
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation import stacking, validation, zero_shot
from taxaforge.evaluation.schema import PREDICTIONS
from taxaforge.evaluation.validation import predict_validation
from taxaforge.evaluation.zero_shot import ZERO_SHOT, ZERO_SHOT_CURVE, score_zero_shot
from taxaforge.files import read_json, write_json
from taxaforge.packs import Pack

SEEN = np.array([True, True, False, False, True, False])
UNSEEN = np.array([False, False, True, True, False, False])  # the last class is neither: it does not compete


def drawn(seed, images=60, saturated=False):
    """Probabilities (N, 6) and labels among the five classes that compete; unequal images a class, planted ties."""
    rng = np.random.default_rng(seed)
    label = rng.choice([0, 1, 2, 3, 4], images, p=[0.4, 0.1, 0.3, 0.1, 0.1])
    label[:5] = range(5)
    logits = rng.normal(0, 1, (images, 6)) * (60 if saturated else 1)
    logits[np.arange(images), label] += 1
    probability = np.exp(logits - logits.max(1, keepdims=True))
    probability /= probability.sum(1, keepdims=True)
    probability[5] = [0.25, 0.05, 0.25, 0.05, 0.2, 0.2]  # its gap is exactly 0
    return probability, label


def plainly(probability, label, handicap):
    """(U, S) by the formula, image by image; for handicaps at which no two classes are equal."""
    hits = {c: [] for c in range(5)}
    for p, true in zip(probability, label, strict=True):
        among = [p[c] / (1 - p[5]) - handicap * SEEN[c] if c < 5 else -np.inf for c in range(6)]
        hits[true].append(int(np.argmax(among)) == true)
    means = {c: np.mean(values) for c, values in hits.items()}
    return np.mean([means[2], means[3]]), np.mean([means[0], means[1], means[4]])


def line_of(probability, label):
    found = stacking.contest(probability, label, SEEN, UNSEEN)
    weight = stacking.weights(found)
    return found, weight, stacking.curve(found, weight)


@pytest.mark.parametrize("saturated", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_unseen_accuracy_never_falls_and_seen_accuracy_never_rises_with_the_handicap(seed, saturated):
    found, weight, line = line_of(*drawn(seed, saturated=saturated))
    assert (np.diff(line.handicap) > 0).all()
    assert (np.diff(line.u) >= 0).all() and (np.diff(line.s) <= 0).all()
    rates = np.array([stacking.rates(found, handicap, weight) for handicap in np.linspace(-1.2, 1.2, 300)])
    assert (np.diff(rates[:, 0]) >= -1e-12).all() and (np.diff(rates[:, 1]) <= 1e-12).all()


@pytest.mark.parametrize("saturated", [False, True])
def test_a_handicap_of_one_or_more_names_unseen_species_only_and_of_minus_one_seen_only(saturated):
    probability, label = drawn(0, saturated=saturated)
    probability[0] = np.eye(6)[0]  # no doubt at all: the gap is exactly 1
    probability[1] = np.eye(6)[2]
    for handicap in (1.0, 1.5, 40.0):
        assert UNSEEN[stacking.stacked(probability, SEEN, UNSEEN, handicap)].all()
    assert SEEN[stacking.stacked(probability, SEEN, UNSEEN, -1.0)].all()
    found, weight, line = line_of(probability, label)
    assert (line.u[0], line.s[-1], line.handicap[0], line.handicap[-1]) == (0, 0, -1, 1)
    assert line.u[-1] == pytest.approx(stacking.t1(found, weight))


@pytest.mark.parametrize("unseen_first", [False, True])
def test_no_handicap_is_argmax_also_where_two_classes_are_equal(unseen_first):
    probability, label = drawn(1)
    seen, unseen = (UNSEEN, SEEN) if unseen_first else (SEEN, UNSEEN)
    tie = np.array([0.1, 0.0, 0.1, 0.3, 0.3, 0.2])[[2, 4, 0, 3, 1, 5]] if unseen_first else probability[5]
    probability[5] = tie
    competing = np.where(seen | unseen, probability, -1)
    assert np.array_equal(stacking.stacked(probability, seen, unseen, 0.0), competing.argmax(1))
    found = stacking.contest(probability, label, seen, unseen)
    right = competing.argmax(1) == label
    per_class = [right[label == c].mean() for c in range(5)]
    u, s = stacking.rates(found, 0.0, stacking.weights(found))
    assert u == pytest.approx(np.mean([per_class[c] for c in np.flatnonzero(unseen)]))
    assert s == pytest.approx(np.mean([per_class[c] for c in np.flatnonzero(seen)]))


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_what_a_dense_grid_approaches_and_skips_nothing(seed):
    probability, label = drawn(seed)
    _, _, line = line_of(probability, label)
    of_curve = list(zip(line.u.round(9), line.s.round(9), strict=True))
    grid = [plainly(probability, label, handicap) for handicap in np.linspace(-1, 1, 1201) + 1.23e-5]
    on_grid = set(zip(*np.round(np.array(grid).T, 9), strict=True))
    assert on_grid <= set(of_curve)  # the grid finds nothing that the curve lacks
    for handicap, u, s in zip(line.handicap, line.u, line.s, strict=True):  # and every point of the curve is real
        if handicap != 0 and -1 < handicap < 1:
            assert (u, s) == pytest.approx(plainly(probability, label, handicap))
    dense = stacking.Curve(np.empty(0), *np.array(sorted(grid, key=lambda us: (us[0], -us[1]))).T)
    assert stacking.area(line) == pytest.approx(stacking.area(dense), abs=5e-3)
    assert len(of_curve) <= len(set(of_curve)) + 1  # a point changes something, or is handicap 0


def test_saturated_gaps_that_are_neighbouring_floats_are_kept_apart():
    below = np.nextafter(0.5, 0)
    probability = np.array([[0.75, 0.0, 0.25, 0, 0, 0], [0.0, 0.75, 0.25, 0, 0, 0]])
    found = stacking.contest(probability, np.array([0, 1]), SEEN, UNSEEN)
    found = stacking.Contest(
        np.array([0.5, below]), *(getattr(found, f) for f in ("unseen", "right", "unseen_first", "label"))
    )
    line = stacking.curve(found, stacking.weights(found))
    assert line.s.tolist() == [1, 1, 0.5, 0]
    for handicap, s in zip(line.handicap, line.s, strict=True):
        assert stacking.rates(found, handicap, stacking.weights(found))[1] == s


def test_the_numbers_of_a_worked_example():
    # classes: 0 seen, 1 seen, 2 unseen, 3 unseen. Gaps (best seen - best unseen):
    seen, unseen = np.array([True, True, False, False]), np.array([False, False, True, True])
    probability = np.array([
        [0.6, 0.1, 0.2, 0.1],  # 0, right among seen, gap 0.4
        [0.4, 0.1, 0.3, 0.2],  # 0, right among seen, gap 0.1
        [0.5, 0.2, 0.2, 0.1],  # 1, wrong among seen
        [0.5, 0.1, 0.3, 0.1],  # 2, right among unseen, gap 0.2
        [0.3, 0.1, 0.2, 0.4],  # 3, right among unseen, gap -0.1
        [0.7, 0.1, 0.2, 0.0],  # 3, wrong among unseen
    ])  # fmt: skip
    label = np.array([0, 0, 1, 2, 3, 3])
    found = stacking.contest(probability, label, seen, unseen)
    weight = stacking.weights(found)
    line = stacking.curve(found, weight)
    # S counts class 0 (2 images) and 1 (1); U counts class 2 (1 image) and 3 (2). Gaps: -0.1, 0.1, 0.2, 0.4
    assert line.u == pytest.approx([0, 0.25, 0.25, 0.75, 0.75])
    assert line.s == pytest.approx([0.5, 0.5, 0.25, 0.25, 0])
    assert line.handicap == pytest.approx([-1, 0, 0.15, 0.3, 1])  # 0 is the middle of its stretch already
    assert stacking.t1(found, weight) == pytest.approx(0.75)
    assert stacking.area(line) == pytest.approx(0.25 * 0.5 + 0.5 * 0.25)
    assert stacking.harmonic(line.u, line.s) == pytest.approx([0, 1 / 3, 0.25, 0.375, 0])
    assert stacking.chosen(line) == pytest.approx(0.3)


def test_where_nothing_helps_the_classifier_is_left_as_it_is():
    found = stacking.contest(np.eye(6)[[0, 1]] * 0.9 + 0.1 / 6, np.array([2, 0]), SEEN, UNSEEN)
    assert stacking.chosen(stacking.curve(found, stacking.weights(found))) == 0.0
    nothing = stacking.curve(found, stacking.weights(found))
    assert stacking.area(nothing) == 0 and stacking.harmonic(nothing.u, nothing.s).max() == 0


def test_a_class_with_many_images_counts_as_one_with_few():
    probability, label = drawn(2)
    many = np.concatenate([np.arange(len(label)), np.repeat(np.flatnonzero(label == 2), 7)])
    for a, b in zip(*((line.u, line.s) for _, _, line in (line_of(probability, label), line_of(probability[many], label[many]))), strict=True):  # fmt: skip
        assert a == pytest.approx(b)


def test_drawing_images_again_is_weighing_them_by_how_often():
    probability, label = drawn(3)
    count = np.random.default_rng(0).integers(0, 3, len(label))
    count[label == 3] = 0  # a class that is not drawn is left out of the mean
    again = np.repeat(np.arange(len(label)), count)
    found = stacking.contest(probability, label, SEEN, UNSEEN)
    copied = stacking.contest(probability[again], label[again], SEEN, UNSEEN)
    assert zero_shot.measured(found, 0.2, count) == pytest.approx(zero_shot.measured(copied, 0.2))


def test_shares_of_an_image_that_was_given_wholly_to_a_class_that_does_not_compete_are_equal():
    share = stacking.shares(np.eye(6)[[5, 0]], SEEN | UNSEEN)
    assert share.tolist() == [[0.2] * 5 + [0], [1, 0, 0, 0, 0, 0]]


# ---------------------------------------------------------------- the job

SPECIES = ["Aa a", "Bb b", "Cc c", "Dd d", "Ee e", "Ff f", "Gg g"]
ROLES = dict(zip(SPECIES, ["seen", "unseen", "seen", "trial", "unseen", "trial", "seen"], strict=True))


def write_predictions(path, parts, each, seed, prefix, handicap=0.3, skill=1.5):
    """A classifier that favours seen species by `handicap` logits of about six."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, name in enumerate(SPECIES):
        for k in range(each if ROLES[name] in parts else 0):
            z = rng.normal(0, 1, 7)
            z[i] += skill
            z[[ROLES[other] == "seen" for other in SPECIES]] += 6 * handicap
            p = np.exp(z) / np.exp(z).sum()
            guess = int(p.argmax())
            rows.append({
                "identifier": f"{prefix}{i}-{k}", "true": name, "predicted": SPECIES[guess], "group": f"{prefix}{i}-{k // 2}",
                "probability": float(p[guess]), "probabilities": p.tolist(),
            })  # fmt: skip
    tables.write(PREDICTIONS, rows, path)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Two arms, two seeds, written; the arguments of the job."""
    monkeypatch.setattr(zero_shot, "DRAWS", 60)
    write_json(tmp_path / "classes.json", [{"species": name} for name in SPECIES])
    write_json(tmp_path / "roles.json", ROLES)
    train = {"classes": SPECIES, "identifier": ["x0", "x1", "x2"], "label": [0, 2, 6]}
    write_json(tmp_path / "train.json", train)
    files = {"predictions": [], "validation_predictions": []}
    for arm, skill in (("real", 1.0), ("real+dig_zsl", 2.5)):
        for seed in range(2):
            for part, roles, each in (
                ("predictions", ("seen", "unseen"), 20),
                ("validation_predictions", ("seen", "trial"), 16),
            ):
                path = tmp_path / f"{arm}-{seed}-{part}.parquet"
                write_predictions(path, roles, each, seed, part, skill=skill)
                files[part].append([arm, seed, path])
    return {
        **files, "roles": tmp_path / "roles.json", "classes": tmp_path / "classes.json", "train": tmp_path / "train.json",
        "cfg": {"alpha": 0.05, "seed": 0}, "out": tmp_path / "zero_shot.csv", "out_curve": tmp_path / "curve.csv",
    }  # fmt: skip


def read(arguments):
    rows = {(r["arm"], r["seed"], r["metric"]): r for r in tables.read(ZERO_SHOT, arguments["out"])}
    return rows, tables.read(ZERO_SHOT_CURVE, arguments["out_curve"])


def test_every_arm_and_seed_gets_its_numbers_and_its_curve(run):
    logged = {}
    score_zero_shot(**run, log=lambda step, values: logged.update(values))
    rows, points = read(run)
    assert {key[:2] for key in rows} == {(arm, seed) for arm in ("real", "real+dig_zsl") for seed in ("0", "1", "mean")}
    for (arm, seed, metric), row in rows.items():
        if metric == "lambda":
            assert row["low"] is row["high"] is None and row["n"] == 16 * 5
            continue
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        assert row["n"] == {"T1": 40, "U": 40, "S": 60, "H": 100, "AUSUC": 100}[metric]
        assert row["high"] - row["low"] > 0.01
        if seed == "mean":
            assert row["value"] == pytest.approx(np.mean([rows[arm, s, metric]["value"] for s in "01"]))
            assert logged[f"{metric}/{arm}"] == row["value"]
        elif metric == "H":
            u, s = rows[arm, seed, "U"]["value"], rows[arm, seed, "S"]["value"]
            assert row["value"] == pytest.approx(2 * u * s / (u + s))
    assert rows["real+dig_zsl", "mean", "H"]["value"] > rows["real", "mean", "H"]["value"]
    mine = [p for p in points if (p["arm"], p["seed"]) == ("real", "0")]
    assert mine[0]["u"] == 0 and mine[-1]["s"] == 0 and 0 in [p["lambda"] for p in mine]
    assert mine[-1]["u"] == pytest.approx(rows["real", "0", "T1"]["value"])


def test_the_handicap_comes_from_validation_alone(run):
    score_zero_shot(**run)
    before = {key: row["value"] for key, row in read(run)[0].items() if key[2] == "lambda"}
    for i, (_, _, path) in enumerate(run["predictions"]):  # quite another test
        write_predictions(path, ("seen", "unseen"), 9, 100 + i, "predictions", handicap=-0.5)
    # all arms must score the same images
    score_zero_shot(**run)
    assert {key: row["value"] for key, row in read(run)[0].items() if key[2] == "lambda"} == before
    for i, (_, _, path) in enumerate(run["validation_predictions"]):
        write_predictions(path, ("seen", "trial"), 9, 100 + i, "validation", handicap=-0.5)
    score_zero_shot(**run)
    assert {key: row["value"] for key, row in read(run)[0].items() if key[2] == "lambda"} != before


def test_a_classifier_that_favours_seen_species_is_calibrated_back(run):
    score_zero_shot(**run)
    rows, points = read(run)
    for arm in ("real", "real+dig_zsl"):
        assert rows[arm, "mean", "lambda"]["value"] > 0.05
        plain = [p for p in points if p["arm"] == arm and p["lambda"] == 0]
        without = np.mean([2 * p["u"] * p["s"] / (p["u"] + p["s"]) for p in plain])
        assert rows[arm, "mean", "H"]["value"] > without


def test_two_runs_give_the_same_bytes(run):
    score_zero_shot(**run)
    before = [Path(run[name]).read_bytes() for name in ("out", "out_curve")]
    score_zero_shot(**run)
    assert [Path(run[name]).read_bytes() for name in ("out", "out_curve")] == before


def plant(path, **change):
    rows = tables.read(PREDICTIONS, path)
    tables.write(PREDICTIONS, [rows[0] | change, *rows[1:]], path)


@pytest.mark.parametrize("part, change", [
    pytest.param("predictions", {"true": "Dd d"}, id="a trial species in the test"),
    pytest.param("validation_predictions", {"true": "Bb b"}, id="an unseen species in validation"),
    pytest.param("validation_predictions", {"identifier": "predictions1-0"}, id="a test image in validation"),
    pytest.param("predictions", {"identifier": "x1"}, id="a training image in the test"),
])  # fmt: skip
def test_a_planted_image_stops_the_scoring(run, part, change):
    for _, _, path in run[part]:
        plant(path, **change)
    with pytest.raises(Misplaced, match=change.get("identifier", change.get("true", ""))):
        score_zero_shot(**run)
    assert not Path(run["out"]).exists()


@pytest.mark.parametrize("name", ["Bb b", "Ff f"])
def test_a_planted_training_image_of_a_species_that_is_held_back_stops_the_scoring(run, name):
    pack = read_json(run["train"])
    pack["identifier"].append("planted")
    pack["label"].append(SPECIES.index(name))
    write_json(run["train"], pack)
    with pytest.raises(Misplaced, match=f"'planted' shows {name}"):
        score_zero_shot(**run)


def test_a_run_of_another_protocol_is_refused_with_the_remedy(run):
    write_json(run["roles"], dict.fromkeys(SPECIES, "seen"))
    with pytest.raises(TaxaforgeError, match=r"0 unseen and 0 trial .* protocol\.kind to 'zero_shot'"):
        score_zero_shot(**run)


# ---------------------------------------------------------------- validation predictions


@pytest.fixture
def trained(tmp_path):
    rng = np.random.default_rng(0)
    names = SPECIES[:3]
    Pack(
        rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8), names, [f"v{i}" for i in range(6)], np.array([0, 2] * 3),
        [f"g{i // 2}" for i in range(6)], [""] * 6,
    ).save(tmp_path / "validation.npy")  # fmt: skip
    model.save(model.create("test_resnet", names, 16), tmp_path / "model.safetensors")
    return {
        "model": tmp_path / "model.safetensors",
        "validation": tmp_path / "validation.npy",
        "out": tmp_path / "v.parquet",
    }


def test_every_validation_image_is_named_once(trained):
    predict_validation(**trained)
    rows, pack = tables.read(PREDICTIONS, trained["out"]), Pack.load(trained["validation"])
    want = predict(load(trained["model"]), pack.pixels)
    assert np.array_equal([row["probabilities"] for row in rows], want)
    assert [row["predicted"] for row in rows] == [pack.classes[i] for i in want.argmax(1)]
    assert [(row["identifier"], row["true"], row["group"]) for row in rows] == [
        (pack.identifier[i], pack.classes[pack.label[i]], pack.group[i]) for i in range(6)
    ]


def test_a_classifier_of_another_species_list_and_an_empty_pack_are_refused(trained):
    pack = Pack.load(trained["validation"])
    Pack(pack.pixels[:0], pack.classes, [], pack.label[:0], [], []).save(trained["validation"])
    with pytest.raises(TaxaforgeError, match="holds no images"):
        predict_validation(**trained)
    model.save(model.create("test_resnet", SPECIES[:2], 16), trained["model"])
    with pytest.raises(TaxaforgeError, match="another species list"):
        predict_validation(**trained)


def test_predicting_validation_knows_no_test_and_scoring_knows_no_torch():
    assert "test" not in predict_validation.__kwdefaults__ and "score" not in Path(validation.__file__).read_text(
        "utf-8"
    )
    for module in (zero_shot, stacking):
        names = {
            node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert not {name for name in names if name.split(".")[0] == "torch" or "classification" in name}
