import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from taxaforge.evaluation.image_metrics import frechet_distance, kid, nearest_similarity, prdc, vendi


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n, m, d", [(40, 40, 8), (30, 50, 64)])
def test_frechet_distance_agrees_with_the_root_of_the_matrix(rng, n, m, d):
    x, y = rng.normal(size=(n, d)), rng.normal(0.5, 2, (m, d))
    s, t = np.cov(x.T), np.cov(y.T)
    want = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet_distance(x, y) == pytest.approx(want, rel=1e-4)


def test_frechet_distance_of_a_set_to_itself_is_zero(rng):
    x = rng.normal(size=(60, 20))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_two_gaussians_meets_the_closed_form(rng):
    x, y = rng.normal(0, 1, (200_000, 3)), rng.normal([1, 0, 0], [2, 1, 0.5], (200_000, 3))
    closed = 1 + (2 - 1) ** 2 + 0 + (1 - 0.5) ** 2
    assert frechet_distance(x, y) == pytest.approx(closed, rel=0.01)


def test_kid_is_zero_on_average_between_halves_of_one_set(rng):
    values = [kid(rng.normal(size=(20, 8)), rng.normal(size=(20, 8))) for _ in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)
    assert min(values) < 0


def test_kid_leaves_an_image_out_of_its_own_pairs():
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    # k(1,2) = 27; k(0,1) = 1; across: k(1,0) = 1, k(1,1) = 8, k(2,0) = 1, k(2,1) = 27
    assert kid(x, y) == pytest.approx(27 + 1 - 2 * (1 + 8 + 1 + 27) / 4)


def test_a_set_covers_itself(rng):
    x = rng.normal(size=(50, 4))
    values = prdc(x, x, 5)
    assert values["precision"] == values["recall"] == values["coverage"] == 1


def test_prdc_agrees_with_counting(rng):
    real, fake, k = rng.normal(size=(30, 3)), rng.normal(1, 1, (20, 3)), 3
    radius_real, radius_fake = (np.sort(cdist(s, s), axis=1)[:, k] for s in (real, fake))
    inside = cdist(real, fake) < radius_real[:, None]
    assert prdc(real, fake, k) == {
        "precision": np.mean([inside[:, j].any() for j in range(20)]),
        "recall": np.mean([(cdist(real, fake)[i] < radius_fake).any() for i in range(30)]),
        "density": pytest.approx(inside.sum() / (k * 20)),
        "coverage": np.mean([inside[i].any() for i in range(30)]),
    }


def test_vendi_counts_different_images():
    assert vendi(np.tile([1.0, 2, 3], (7, 1))) == pytest.approx(1)
    assert vendi(3 * np.eye(7)) == pytest.approx(7)
    assert vendi(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3)


def test_nearest_similarity_is_the_highest_cosine():
    assert nearest_similarity(np.array([[2.0, 0], [0, 1]]), np.array([[1.0, 1], [3, 0]])) == pytest.approx(
        [1, np.sqrt(0.5)]
    )
