"""Runs of several draws joined: a draw counts once, whatever its repeats, and runs that do not belong together are refused."""

import numpy as np
import pytest

from taxaforge import tables
from taxaforge.evaluation import predictions as reading
from taxaforge.evaluation.bundles import NoBundle, pool
from taxaforge.evaluation.comparisons import shared_seeds
from taxaforge.evaluation.schema import PREDICTIONS
from taxaforge.evaluation.statistics import crossed
from taxaforge.files import write_json
from taxaforge.report import words

SPECIES = ["Aa bb", "Cc dd", "Ee ff"]
ARMS, REPEATS, IMAGES = ["real", "real+cfg"], ["0", "1", "2"], 30


def rows_of(right, prefix="test"):
    """Rows of PREDICTIONS of images dealt to the species in turn, two a group. right: (N,) bool."""
    rows = []
    for i, known in enumerate(right):
        true = i % len(SPECIES)
        guess = true if known else (true + 1) % len(SPECIES)
        p = [0.8 if c == guess else 0.1 for c in range(len(SPECIES))]
        rows.append(
            {"identifier": f"{prefix}{i:03d}", "true": SPECIES[true], "predicted": SPECIES[guess], "probability": 0.8}
            | {"probabilities": p, "group": f"g{true}-{i // (2 * len(SPECIES))}"}
        )
    return rows


@pytest.fixture
def runs(tmp_path):
    """Makes runs' folders; (own triples, beside, supports, right (run, arm, repeat, N))."""

    def make(count=3, supports=None, species=SPECIES, prefixes=None, seed=0):
        right = np.random.default_rng(seed).uniform(size=(count, len(ARMS), len(REPEATS), IMAGES)) < 0.6
        own, beside, packs = [], [], []
        for number in range(count):
            folder = tmp_path / f"run{number}"
            images = (supports or [[f"s{number}{k}" for k in range(5)] for number in range(count)])[number]
            write_json(folder / "train.json", {"classes": list(species), "identifier": images})
            packs.append(folder / "train.json")
            for a, arm in enumerate(ARMS):
                for r, repeat in enumerate(REPEATS):
                    path = folder / f"classifiers/{arm}/seed{repeat}/predictions.parquet"
                    rows = rows_of(right[number, a, r], (prefixes or ["test"] * count)[number])
                    tables.write(PREDICTIONS, rows[:: -1 if r else 1], path)
                    if number:
                        beside.append(path)
                    else:
                        own.append([arm, repeat, path])
        return own, beside, packs, right

    return make


def test_without_other_runs_nothing_changes(runs):
    own, _, _, right = runs(1)
    assert pool(own) == own
    found = reading.read(pool(own), SPECIES)
    assert found.seeds("real") == found.classifiers("real") == REPEATS
    assert np.array_equal(found.correct("real+cfg", REPEATS), right[0, 1])


def test_a_draw_counts_once_and_its_repeats_are_averaged(runs, capsys):
    own, beside, packs, right = runs(4)
    found = reading.read(pool(own, beside, packs), SPECIES)
    assert found.arms == ARMS and found.seeds("real") == ["0", "1", "2", "3"]
    assert found.classifiers("real") == [f"{run}-{repeat}" for run in range(4) for repeat in REPEATS]
    seeds = shared_seeds(found, "real+cfg", "real")
    d = found.correct("real+cfg", seeds) - found.correct("real", seeds)
    want = right[:, 1].mean(1) - right[:, 0].mean(1)
    assert np.allclose(d, want, atol=1e-12) and crossed(d, found.label, found.group).seeds == 4
    assert "4 runs joined; any two share 0% to 0%" in capsys.readouterr().out


def test_repeats_of_one_support_do_not_pass_for_draws(runs):
    """Two supports of opposite effect: over draws the error is large, over all repeats as if independent it is not."""
    own, beside, packs, _ = runs(2)
    for number, paths in enumerate(([path for *_, path in own], beside)):
        for i, path in enumerate(paths):
            arm = i // len(REPEATS)
            tables.write(PREDICTIONS, rows_of(np.full(IMAGES, number == arm)), path)
    found = reading.read(pool(own, beside, packs), SPECIES)
    d = found.correct("real+cfg", ["0", "1"]) - found.correct("real", ["0", "1"])
    alike = np.repeat(d, len(REPEATS), axis=0)
    joined, naive = (crossed(each, found.label, found.group) for each in (d, alike))
    assert joined.value == naive.value and joined.variance_seeds >= 4 * naive.variance_seeds > 0


def test_everything_computed_of_a_classifier_can_be_averaged_in_its_draw(runs):
    own, beside, packs, _ = runs(2)
    found = reading.read(pool(own, beside, packs), SPECIES)
    assert [len(found.repeats("real", seed)) for seed in found.seeds("real")] == [3, 3]
    assert np.array_equal(found.repeats("real", "1")[2], found.probability["real", "1-2"])


def test_the_support_they_share_is_told(runs, capsys):
    pool(*runs(3, supports=[["a", "b", "c", "d"], ["a", "b", "c", "e"], ["f", "g", "h", "d"]])[:3])
    assert "any two share 0% to 75% of their training images" in capsys.readouterr().out


@pytest.mark.parametrize("change, says", [
    pytest.param({"prefixes": ["test", "test", "other"]}, "run2.* scores other test images .*0 in common", id="another test"),
    pytest.param({"supports": [["a"], ["b"], ["a"]]}, "run0.*run2.* same training images.*protocol.draw", id="the same draw"),
])  # fmt: skip
def test_runs_that_do_not_belong_together_are_refused(runs, change, says):
    own, beside, packs, _ = runs(3, **change)
    with pytest.raises(NoBundle, match=says):
        pool(own, beside, packs)


def test_a_run_of_other_species_is_refused(runs):
    own, beside, packs, _ = runs(2)
    write_json(packs[1], {"classes": SPECIES[::-1], "identifier": ["x"]})
    with pytest.raises(NoBundle, match=r"other species.*evaluation\.beside"):
        pool(own, beside, packs)


def test_a_single_image_more_in_one_test_is_noticed(runs):
    own, beside, packs, _ = runs(2)
    tables.write(PREDICTIONS, rows_of(np.ones(IMAGES + 1, bool)), beside[0])
    with pytest.raises(NoBundle, match="31 and 30, 30 in common"):
        pool(own, beside, packs)


def test_the_page_says_what_the_intervals_count():
    def told(**settings):
        return " ".join(words.caveats(settings, [], [], {}))

    alone = told(classification={"seeds": 3}, evaluation={"beside": []})
    assert "trained once in this run" in alone and "Only 3 seeds" in alone and "evaluation.beside" in alone
    joined = told(classification={"seeds": 3}, evaluation={"beside": ["a", "b"]})
    assert "count 3 runs" in joined and "Only 3 draws" in joined and "trained once" not in joined
    assert "Only" not in told(classification={"seeds": 1}, evaluation={"beside": list("abcd")})
