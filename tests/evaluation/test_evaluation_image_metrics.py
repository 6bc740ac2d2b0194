import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from taxaforge.evaluation.image_metrics import (
    cmmd,
    frechet_distance,
    kid,
    kid_of_subsets,
    mean_apart,
    nearest_similarity,
    prdc,
    unit,
    vendi,
)

PUBLISHED = {
    (80, 16): {
        "fid": 1.908605418357606,
        "kid": 0.24371474826585526,
        "kid_20": 0.24572474254555288,
        "prc_3": (0.925, 1.0),
        "prdc_5": (0.975, 1.0, 0.685, 1.0),
        "vendi": (15.579338851171773, 14.969535611796347),
        "cmmd_biased": 0.9888051859385794,
    },
    (40, 64): {
        "fid": 40.33560047996954,
        "kid": 0.2600826960927982,
        "kid_20": 0.26047779825809536,
        "prc_3": (0.475, 1.0),
        "prdc_5": (0.525, 1.0, 0.14, 0.475),
        "vendi": (31.081787783744627, 29.73429029242508),
        "cmmd_biased": 1.4603762449114654,
    },
}
"""What others' code gives for the sets below: torch-fidelity at 5e211a9 (fid, kid, kid of 2000 subsets of 20, precision
and recall at k 3), prdc at e320c1d, vendi_score at c791c30, cmmd-pytorch at f7673a9 on rows of length 1."""


def shared_features(n, d):
    """Two sets without a random generator, (n, d) each."""
    i, j = np.arange(n)[:, None], np.arange(d)[None]
    x = np.sin(12.9898 * i + 78.233 * j + 0.37 * i * j)
    return x, 0.3 + 1.2 * np.cos(39.346 * i + 11.135 * j + 0.53 * i * j)


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


@pytest.mark.parametrize("n, d", PUBLISHED)
def test_values_on_shared_features_are_those_of_published_code(n, d):
    (x, y), want = shared_features(n, d), PUBLISHED[n, d]
    assert frechet_distance(x, y) == pytest.approx(want["fid"], rel=1e-6)
    assert kid(x, y) == pytest.approx(want["kid"], rel=1e-9)
    assert kid_of_subsets(x, y, 20, 2000, 1) == pytest.approx(want["kid_20"], rel=0.02)  # other draws of subsets
    assert tuple(prdc(x, y, 3).values())[:2] == pytest.approx(want["prc_3"])
    assert tuple(prdc(x, y, 5).values()) == pytest.approx(want["prdc_5"])
    assert (vendi(x), vendi(y)) == pytest.approx(want["vendi"], rel=1e-9)
    assert cmmd(x, y, biased=True) == pytest.approx(want["cmmd_biased"], rel=1e-9)


def test_frechet_distance_holds_up_where_dimensions_outnumber_images(rng):
    """n < d: both covariances are singular; their smoothed root approaches the value from above."""
    x, y = rng.normal(size=(12, 40)), rng.normal(0.3, 1, (15, 40))
    s, t = np.cov(x.T), np.cov(y.T)
    half = sqrtm(s + 1e-10 * np.eye(40)).real
    root = np.trace(sqrtm(half @ t @ half + 1e-12 * np.eye(40)).real)
    want = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * root
    assert frechet_distance(x, y) == pytest.approx(want, rel=1e-3)


def test_distances_do_not_care_which_set_comes_first(rng):
    x, y = rng.normal(size=(30, 6)), rng.normal(1, 2, (20, 6))
    for distance in (frechet_distance, kid, cmmd):
        assert distance(x, y) == pytest.approx(distance(y, x))


def test_cmmd_is_zero_on_average_between_halves_and_its_biased_form_is_too_large_by_the_known_amount(rng):
    n, plain, biased, cosine = 20, [], [], []
    for _ in range(200):
        x, y = (unit(rng.normal(0.5, 1, (n, 8))) for _ in range(2))
        plain.append(cmmd(x, y))
        biased.append(cmmd(x, y, biased=True))
        cosine += [(s @ s.T)[np.triu_indices(n, 1)].mean() for s in (x, y)]
    assert abs(np.mean(plain)) < 3 * np.std(plain) / np.sqrt(200)
    assert min(plain) < 0 < max(plain)
    assert np.mean(biased) == pytest.approx(10 * (1 - np.mean(cosine)) * 2 / n, rel=0.05)


def test_cmmd_is_blind_to_spread_which_is_why_it_never_stands_alone(rng):
    x, y = rng.normal(0, 0.2, (200, 32)), rng.normal(0, 0.2, (200, 32))
    y[:, 5:] = 0  # collapsed into five dimensions
    x[:, 0] += 1
    y[:, 0] += 1
    floor = frechet_distance(unit(x[:100]), unit(x[100:]))
    assert frechet_distance(unit(x), unit(y)) > 3 * floor and cmmd(x, y) < 2


def test_kid_of_subsets_of_everything_is_kid_and_leaves_no_random_state(rng):
    x, y = rng.normal(size=(20, 4)), rng.normal(size=(20, 4))
    before = np.random.get_state()[1].tolist()
    assert kid_of_subsets(x, y, 20, 3, 0) == pytest.approx(kid(x, y))
    assert kid_of_subsets(x, y, 99, 3, 0) == pytest.approx(kid(x, y))  # larger than the sets
    more = np.concatenate([x, rng.normal(size=(10, 4))])  # sets of different sizes: each has its own draws
    assert kid_of_subsets(more, y, 19, 300, 0) == pytest.approx(kid(more, y), abs=0.05)
    assert kid_of_subsets(x, y, 5, 3, 0) == kid_of_subsets(x, y, 5, 3, 0) != kid_of_subsets(x, y, 5, 3, 1)
    assert np.random.get_state()[1].tolist() == before


def test_prdc_of_one_picture_is_precise_and_recalls_next_to_nothing(rng):
    real = rng.normal(size=(60, 4))
    fake = real[:1] + rng.normal(0, 1e-3, (60, 4))
    values = prdc(real, fake)
    assert values["precision"] == 1 and values["recall"] < 0.1 and values["coverage"] < 0.5


def test_vendi_agrees_with_the_eigenvalues_of_the_kernel(rng):
    x = rng.normal(size=(25, 7))
    length = np.linalg.norm(x, axis=1)
    kernel = x @ x.T / np.outer(length, length)
    values = np.linalg.eigvalsh(kernel / 25)
    values = values[values > 1e-12]
    assert vendi(x) == pytest.approx(np.exp(-np.sum(values * np.log(values))))


def test_the_mean_distance_counts_every_pair_once_and_no_image_with_itself():
    assert mean_apart(np.array([[9.0, 1, 2], [1, 9, 6], [2, 6, 9]])) == 3
