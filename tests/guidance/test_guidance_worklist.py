"""Which image is drawn where: nothing lost, nothing twice, nothing moved by a runtime knob."""

import pytest
import torch

from taxaforge.errors import TaxaforgeError
from taxaforge.guidance.noise import initial_noise
from taxaforge.guidance.worklist import batches, image_seed, worklist

SPECIES = [f"Genus species{number}" for number in range(7)]
ITEMS = worklist(SPECIES, [11] * len(SPECIES), "cfg", 1)


def sets_of(shards, micro_batch):
    return [
        {item.identifier for batch in batches(ITEMS, shard, shards, micro_batch) for item in batch}
        for shard in range(shards)
    ]


def test_the_order_gives_every_species_an_image_before_any_gets_two():
    assert [item.species for item in ITEMS[:8]] == [*SPECIES, SPECIES[0]]
    assert [item.index for item in ITEMS[:8]] == [0] * 7 + [1]
    assert (ITEMS[7].label, ITEMS[7].identifier) == (0, "cfg-Genus_species0-0001")
    assert ITEMS[7].file_name == "Genus_species0/cfg-Genus_species0-0001.png"


@pytest.mark.parametrize("micro_batch", [1, 4, 64])
@pytest.mark.parametrize("shards", [1, 2, 3, 20])
def test_shards_share_all_images_without_overlap(shards, micro_batch):
    parts = sets_of(shards, micro_batch)
    assert sum(map(len, parts)) == len(ITEMS)
    assert set().union(*parts) == {item.identifier for item in ITEMS}


def test_shards_are_alike_in_size():
    sizes = [len(part) for part in sets_of(4, 64)]
    assert max(sizes) - min(sizes) <= 10  # a block is an eighth of 77


def test_a_smaller_micro_batch_moves_no_image_to_another_shard():
    assert sets_of(3, 1) == sets_of(3, 5) == sets_of(3, 1000)


def test_the_number_of_shards_changes_no_batch():
    cut = {shards: [b for s in range(shards) for b in batches(ITEMS, s, shards, 4)] for shards in (1, 2, 3)}
    as_sets = {shards: {tuple(item.identifier for item in batch) for batch in cut[shards]} for shards in cut}
    assert as_sets[1] == as_sets[2] == as_sets[3]


def test_no_batch_is_larger_than_asked_and_none_is_a_leftover():
    sizes = [len(batch) for batch in batches(ITEMS, 0, 1, 7)]
    assert max(sizes) <= 7
    assert min(sizes[:-1]) >= 5  # a block of 10 is 5 + 5, not 7 + 3


def test_a_shard_that_does_not_exist_is_refused():
    with pytest.raises(TaxaforgeError, match="Shard 2 does not exist"):
        batches(ITEMS, 2, 2, 4)


def test_two_names_that_would_share_a_folder_are_refused():
    with pytest.raises(TaxaforgeError, match="Genus a, Genus/a"):
        worklist(["Genus/a", "Genus b", "Genus a"], [1, 1, 1], "cfg", 1)


def test_compared_methods_share_their_seeds():
    other = worklist(SPECIES, [11] * 7, "taxadiffusion", 1)
    assert [item.seed for item in other] == [item.seed for item in ITEMS]
    assert {item.identifier for item in other}.isdisjoint(item.identifier for item in ITEMS)


def test_images_differ_in_their_seeds():
    assert len({item.seed for item in ITEMS}) == len(ITEMS)
    assert {item.seed for item in worklist(SPECIES, [11] * 7, "cfg", 2)}.isdisjoint(item.seed for item in ITEMS)


def test_a_recorded_answer_of_the_seed():
    """First 63 bits of sha256("3|image|Parus major|0"), so that images stay the same over releases."""
    assert image_seed(3, "Parus major", 0) == 1340086125643045368


def test_an_image_keeps_its_noise_in_any_batch():
    together = initial_noise([5, 6, 7], (3, 4, 4))
    assert torch.equal(together[1:2], initial_noise([6], (3, 4, 4)))
    assert torch.equal(together.flip(0), initial_noise([7, 6, 5], (3, 4, 4)))
    assert not torch.equal(together[0], together[1])


def test_noise_is_unit_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    noise = initial_noise(range(64), (3, 16, 16))
    assert torch.equal(before, torch.random.get_rng_state())
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02


def test_species_may_get_different_numbers_of_images_and_keep_their_seeds():
    some = worklist(SPECIES[:3], [2, 0, 1], "cfg", 1)
    assert [(item.species, item.index) for item in some] == [(SPECIES[0], 0), (SPECIES[2], 0), (SPECIES[0], 1)]
    seeds = {(item.species, item.index): item.seed for item in ITEMS}
    assert all(item.seed == seeds[item.species, item.index] for item in some)
