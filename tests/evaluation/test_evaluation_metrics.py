import numpy as np
import pytest

from taxaforge.evaluation import metrics


def lineage(species, **ranks):
    return {"species": species, "genus": species.split()[0], "kingdom": "Animalia"} | ranks


TOY = [
    lineage("Aglais io", family="Nymphalidae", order="Lepidoptera"),
    lineage("Aglais urticae", family="Nymphalidae", order="Lepidoptera"),
    lineage("Vanessa cardui", family="Nymphalidae", order="Lepidoptera"),
    lineage("Pieris rapae", family="Pieridae", order="Lepidoptera"),
    lineage("Lycaena helloides", family=None, order="Lepidoptera"),
    lineage("Quercus robur", kingdom="Plantae", family="Fagaceae", order=None),
]


@pytest.mark.parametrize(
    "a, b, height",
    [
        pytest.param(0, 0, 0, id="same species"),
        pytest.param(0, 1, 1, id="same genus"),
        pytest.param(0, 2, 2, id="same family"),
        pytest.param(0, 3, 3, id="same order"),
        pytest.param(3, 4, 3, id="a missing family neither matches nor separates"),
        pytest.param(4, 4, 0, id="a missing rank does not separate a species from itself"),
        pytest.param(0, 5, 7, id="nothing in common, and two missing classes are no match"),
    ],
)
def test_height_of_the_lowest_common_ancestor(a, b, height):
    assert metrics.lca_height(TOY[a], TOY[b]) == metrics.lca_heights(TOY)[b, a] == height


def test_scores_agree_with_scikit_learn_where_a_class_has_no_images():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true = rng.choice([0, 1, 3], 200, p=[0.7, 0.2, 0.1])
    probability = rng.dirichlet(np.ones(4), 200)
    predicted = probability.argmax(1)
    with pytest.warns(UserWarning, match="not in y_true"):
        balanced = sklearn.balanced_accuracy_score(true, predicted)
    assert metrics.macro_top1(true, predicted) == pytest.approx(balanced)
    assert metrics.macro_f1(true, predicted) == pytest.approx(
        sklearn.f1_score(true, predicted, labels=[0, 1, 3], average="macro")
    )
    assert metrics.nll(true, probability) == pytest.approx(sklearn.log_loss(true, probability, labels=range(4)))
    assert metrics.micro_top1(true, predicted) == (true == predicted).mean()
    assert set(metrics.recall(true, predicted)) == {0, 1, 3}


def test_calibration_error_by_hand():
    probability = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    true = np.array([0] * 9 + [1] + [0] * 2 + [1] * 8)  # .9 sure: .9 right; .6 sure: .2 right
    assert metrics.ece(true, probability, bins=2) == pytest.approx(0.5 * 0 + 0.5 * 0.4)
    assert metrics.ece(true[:1], probability[:1]) == pytest.approx(0.1)  # fewer images than bins


def test_rolling_up_and_adding_up_are_different_numbers():
    # Likeliest species Pieris rapae (.4); likeliest family Nymphalidae (.2 + .2 + .2).
    probability = np.array([[0.2, 0.2, 0.2, 0.4, 0, 0]])
    assert metrics.rolled_up(np.array([0]), probability, TOY, "family") == (0.0, 1.0, 1)


def test_images_whose_species_lacks_the_rank_are_left_out_and_a_guess_without_it_is_wrong():
    probability = np.eye(6)[[4, 4, 0]]
    rolled, summed, images = metrics.rolled_up(np.array([4, 0, 0]), probability, TOY, "family")
    assert (rolled, summed, images) == (0.5, 0.5, 2)
    assert metrics.rolled_up(np.array([0]), np.eye(6)[[0]], TOY, "phylum") is None


def test_brier_and_top_five_agree_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    true, probability = rng.integers(0, 9, 120), rng.dirichlet(np.ones(9), 120)
    truth = np.eye(9)[true]
    by_class = [sklearn.brier_score_loss(truth[:, c], probability[:, c]) for c in range(9)]
    assert metrics.brier(true, probability) == pytest.approx(sum(by_class))
    for k in (1, 3, 5):
        want = sklearn.top_k_accuracy_score(true, probability, k=k, labels=range(9))
        assert metrics.top_k(true, probability, k) == pytest.approx(want)


def test_the_first_of_equals_counts_as_the_answer_as_with_argmax():
    even = np.full((3, 8), 1 / 8)
    assert [metrics.top_k(np.array([c]), even[:1], 5) for c in (0, 4, 5)] == [1, 1, 0]
    assert metrics.top_k(np.arange(3), even, 1) == (even.argmax(1) == np.arange(3)).mean()


def test_numbers_by_image_average_to_the_numbers_of_the_table():
    rng = np.random.default_rng(2)
    true, probability = rng.integers(0, 6, 90), rng.dirichlet(np.ones(6), 90)
    each = metrics.by_image(true, probability, metrics.lca_heights(TOY))
    assert each["brier"].mean() == pytest.approx(metrics.brier(true, probability))
    assert each["nll"].mean() == pytest.approx(metrics.nll(true, probability))
    assert each["top5"].mean() == metrics.top_k(true, probability, 5)
    # Only the two Aglais are siblings.
    assert each["sibling_mass"] == pytest.approx(
        [p[1 - t] if t < 2 else 0 for t, p in zip(true, probability, strict=True)]
    )
    named = probability.argmax(1)
    assert each["sibling_errors"].tolist() == [t < 2 and n == 1 - t for t, n in zip(true, named, strict=True)]
    assert each["lca_height"].tolist() == [metrics.lca_height(TOY[t], TOY[n]) for t, n in zip(true, named, strict=True)]
    assert "top5" not in metrics.by_image(true % 5, probability[:, :5], metrics.lca_heights(TOY[:5]))


def test_calibration_bins_hold_equal_numbers_of_images():
    """Fifteen bins of ten images each, against a sum over the sorted images by hand."""
    rng = np.random.default_rng(3)
    true, probability = rng.integers(0, 3, 150), rng.dirichlet(np.ones(3), 150)
    order = np.argsort(probability.max(1))
    sure, right = probability.max(1)[order].reshape(15, 10), (probability.argmax(1) == true)[order].reshape(15, 10)
    assert metrics.ece(true, probability) == pytest.approx(np.abs(sure.mean(1) - right.mean(1)).mean())
