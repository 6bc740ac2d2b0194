"""What is done to training images, and that the process's random states do not notice."""

import random

import numpy as np
import pytest
import torch

from taxaforge.classification import augmentation, data
from taxaforge.errors import TaxaforgeError

STRONG = {"operations": 2, "magnitude": 9, "mixup_alpha": 0.2, "cutmix_alpha": 1.0, "blend_probability": 1.0}


@pytest.fixture
def pool(toy_pack):
    return data.Pool([toy_pack("a", per_class=8)])


SEQUENCE = np.arange(16).reshape(2, 8)


def pixels(pool, strength=STRONG, seed=0, sequence=SEQUENCE, workers=0, name="strong"):
    return np.stack(list(augmentation.Variation(name, strength, seed).pixels(pool, sequence, workers)))


def states():
    return (
        random.getstate(),
        [np.asarray(part).tolist() for part in np.random.get_state()],
        torch.random.get_rng_state(),
    )


def test_the_same_image_at_the_same_place_of_a_seed_is_changed_in_the_same_way(pool):
    first = pixels(pool)
    assert first.dtype == np.uint8 and first.shape == (2, 8, 16, 16, 3)
    assert np.array_equal(first, pixels(pool)) and not np.array_equal(first, pixels(pool, seed=1))
    again = pixels(pool, sequence=SEQUENCE[[0, 0]])
    assert np.array_equal(again[0], first[0])
    assert not np.array_equal(again[1], again[0])  # another step, another change
    one = pixels(pool, sequence=SEQUENCE[:, :3])
    assert np.array_equal(one, first[:, :3])  # whatever stands beside it


def test_operations_change_images_and_none_leave_them_alone(pool):
    original = pool.pixels(SEQUENCE.ravel()).reshape(2, 8, 16, 16, 3)
    changed = [not np.array_equal(a, b) for a, b in zip(pixels(pool)[0], original[0], strict=True)]
    assert sum(changed) >= 4  # two operations with probability 1/2: three of four images
    assert np.array_equal(pixels(pool, STRONG | {"operations": 0}), original)
    assert np.array_equal(pixels(pool, None, name="standard"), original)


def test_no_operation_fails_at_the_greatest_magnitude(toy_pack):
    """Pillow refuses what `posterize` asks at the end of timm's scale, which a magnitude near it reaches by chance."""
    pool = data.Pool([toy_pack("a", per_class=8)])
    sequence = np.tile(np.arange(16), (8, 1))
    assert pixels(pool, STRONG | {"operations": 15}, sequence=sequence).shape[0] == 8


def test_processes_that_work_ahead_change_no_pixel_and_no_state(pool):
    before = states()
    assert np.array_equal(pixels(pool, workers=2), pixels(pool))
    assert torch.equal(states()[2], before[2])


def test_shared_random_states_are_put_back_even_after_an_error(pool):
    random.seed(1)
    np.random.seed(1)
    before = states()
    pixels(pool)
    blend = augmentation.Blend(STRONG)
    blend(torch.rand(4, 3, 8, 8, generator=torch.Generator()), torch.eye(4), 0)
    with pytest.raises(ZeroDivisionError), augmentation.borrowed_randomness():
        augmentation.seed_shared("x")
        _ = 1 / 0
    after = states()
    assert after[0] == before[0] and after[1] == before[1] and torch.equal(after[2], before[2])


def solid(n, side=16):
    """Images of one value each: image i is all (i + 1) / 16; its target is class i."""
    x = ((torch.arange(n) + 1) / 16).view(n, 1, 1, 1).expand(n, 3, side, side).contiguous()
    return x, torch.eye(n)


@pytest.mark.parametrize("kind", ["mixup_alpha", "cutmix_alpha"])
def test_a_blend_gives_each_image_the_weight_that_its_pixels_have(kind):
    blend = augmentation.Blend({"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "blend_probability": 1.0, kind: 1.0})
    value = (torch.arange(6) + 1) / 16
    shares = []
    for seed in range(20):
        x, target = blend(*solid(6), seed)
        assert torch.allclose(x.mean((1, 2, 3)), target @ value, atol=1e-6)
        assert torch.allclose(target.sum(1), torch.ones(6))
        assert (target > 0).sum(1).max() <= 2
        assert len(x[0].unique()) <= (2 if kind == "cutmix_alpha" else 1)
        shares.append(target[0, 0].item())
    assert len({round(share, 4) for share in shares}) > 10  # a new share for each seed


def test_a_blend_keeps_mixtures_and_weights_of_its_images():
    """Targets of two species, one image weighing a quarter: the blended rows are the blend of the rows."""
    blend = augmentation.Blend({"mixup_alpha": 1.0, "cutmix_alpha": 0.0, "blend_probability": 1.0})
    rows = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 0.25], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    _, places = blend(*solid(4), 3)
    x, _ = solid(4)
    _, target = blend(x, rows, 3)
    share = places[0, 0]
    assert 0 < share < 1
    assert torch.allclose(target[0], share * rows[0] + (1 - share) * rows[3])
    assert torch.allclose(target[1], share * rows[1] + (1 - share) * rows[2])


def test_the_last_image_of_an_odd_batch_stays_itself():
    blend = augmentation.Blend(STRONG)
    x, target = blend(*solid(5), 0)
    assert x.shape == (5, 3, 16, 16) and target.shape == (5, 5)
    assert torch.equal(x[4], solid(5)[0][4]) and torch.equal(target[4], torch.eye(5)[4])
    alone, _ = blend(*solid(1), 0)
    assert torch.equal(alone, solid(1)[0])


def test_blends_happen_as_often_as_asked():
    blend = augmentation.Blend(STRONG | {"blend_probability": 0.3})
    happened = [not torch.equal(blend(*solid(2, 4), seed)[1], torch.eye(2)) for seed in range(200)]
    assert 0.2 < np.mean(happened) < 0.4
    assert not augmentation.Variation("strong", STRONG | {"blend_probability": 0.0}, 0).blends
    assert not augmentation.Variation("strong", STRONG | {"mixup_alpha": 0, "cutmix_alpha": 0}, 0).blends
    assert not augmentation.Variation("standard", STRONG, 0).blends


def test_strong_without_its_strength_says_which_section_is_missing():
    with pytest.raises(TaxaforgeError, match=r"classification\.strong"):
        augmentation.Variation("strong", None, 0)
