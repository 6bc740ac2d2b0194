"""What a step sees follows from its number alone."""

import math

import numpy as np
import pytest
import torch

from taxaforge.diffusion import devices
from taxaforge.diffusion.backbone import load
from taxaforge.diffusion.data import Batch, Batches, chosen_at, places_of
from taxaforge.diffusion.latents import Pixels
from taxaforge.diffusion.schedule import evenly, towards_the_middle
from taxaforge.diffusion.tally import Tally
from taxaforge.diffusion.training import ema_decay, learning_rate
from taxaforge.packs import Pack


def draw(**changes) -> Batch:
    step = changes.pop("step", 0)
    plain = {"seed": 0, "stage": "base", "size": 8, "labels": torch.arange(6) % 3, "flip": True}
    plain |= {
        "null_probability": 0.0,
        "share": [0.2, 0.3, 0.5],
        "timesteps": 1000,
        "places": evenly,
        "shape": (1, 2, 2),
    }
    return Batches(**{**plain, **changes})(step)


def test_every_epoch_visits_every_image_once_across_step_borders():
    seen = torch.cat([chosen_at(0, "base", step, 4, 10) for step in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_the_null_share_lies_in_its_binomial_interval():
    share, n = 0.1, 20_000
    null = (draw(size=n, null_probability=share).label < 0).sum().item()
    assert abs(null - n * share) < 3.29 * math.sqrt(n * share * (1 - share))


def test_null_lineages_use_every_level_that_the_stage_knows():
    batch = draw(size=400, null_probability=0.5, share=[0.4, 0.4, 0.2])
    assert (batch.upto[batch.label < 0] == 2).all()
    assert set(batch.upto[batch.label >= 0].tolist()) == {0, 1, 2}
    assert (draw(size=50, share=[0.0, 1.0, 0.0]).upto == 1).all()


def test_timesteps_gather_where_a_picture_takes_shape():
    places = towards_the_middle((torch.arange(10_000) + 0.5) / 10_000)
    logit = torch.logit(places)
    assert (places.diff() > 0).all()
    assert abs(logit.mean() - 0.3) < 1e-3 and abs(logit.std() - 1.2) < 1e-2


def test_timesteps_of_a_batch_cover_the_schedule_evenly():
    t = draw(size=50).t.sort().values
    assert ((t // 20) == torch.arange(50)).all()


def test_another_step_stage_or_seed_is_another_draw_and_the_same_one_is_not():
    a, b = draw(step=3), draw(step=3)
    assert torch.equal(a.eps, b.eps) and torch.equal(a.label, b.label)
    for other in (draw(step=4), draw(seed=1), draw(stage="genus")):
        assert not torch.equal(a.eps, other.eps)


def test_nothing_is_mirrored_where_left_and_right_matter():
    assert not draw(size=100, flip=False).mirrored.any()
    assert 25 < draw(size=100, flip=True).mirrored.sum() < 75


def test_levels_lose_their_names_one_by_one_at_the_asked_share():
    share, n = 0.2, 20_000
    dropped = draw(size=n, level_dropout=share).dropped
    for level in range(3):
        assert abs(dropped[:, level].sum().item() - n * share) < 3.29 * math.sqrt(n * share * (1 - share))
    both = (dropped[:, 0] & dropped[:, 1]).sum().item()
    assert abs(both - n * share**2) < 3.29 * math.sqrt(n * share**2 * (1 - share**2))
    assert not draw(size=50).dropped.any()


def test_offset_noise_adds_one_number_a_channel_of_the_asked_size():
    plain, offset = draw(size=4000, shape=(3, 4, 4)), draw(size=4000, shape=(3, 4, 4), noise_offset=0.5)
    added = offset.eps - plain.eps
    assert (added - added.mean((2, 3), keepdim=True)).abs().max() < 1e-5
    assert abs(added[:, :, 0, 0].std().item() - 0.5) < 0.02
    assert torch.equal(plain.t, offset.t) and torch.equal(plain.chosen, offset.chosen)


def test_the_learning_rate_rises_then_falls_to_nothing_or_stays():
    cosine, constant = (
        np.array([learning_rate(step, 100, 2.0, course, 0.05) for step in range(100)])
        for course in ("cosine", "constant")
    )
    assert cosine.max() == 2.0 and cosine[-1] < 0.01
    assert (np.diff(cosine[:5]) > 0).all() and (np.diff(cosine[5:]) <= 0).all()
    assert np.allclose(constant[:5], [0.4, 0.8, 1.2, 1.6, 2.0]) and (constant[5:] == 2.0).all()
    assert learning_rate(0, 100, 2.0, "constant", 0.0) == 2.0


def test_the_average_forgets_the_random_start_of_a_short_run():
    kept = math.prod(ema_decay(step, 0.999) for step in range(200))
    assert kept < 1e-9 and ema_decay(10**6, 0.999) == 0.999


def test_pictures_are_mirrored_left_to_right_where_asked(stages, files):
    data, backbone = Pack.load(files["pack"]), load(stages["base"], texts=files["texts"])
    z = Pixels(backbone, data)(torch.tensor([4, 4]), torch.tensor([False, True]))
    assert np.array_equal(backbone.to_image(z), np.stack([data.pixels[4], data.pixels[4][:, ::-1]]))


@pytest.mark.parametrize("size", [64, 40, 3])
def test_two_nodes_of_eight_share_a_batch_without_overlap_or_gap(size):
    shards = [places_of(rank, 16, size).tolist() for rank in range(16)]
    assert sorted(place for shard in shards for place in shard) == list(range(size))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_losses_are_told_apart_by_level_and_by_noise():
    with devices.opened("cpu", "fp32") as accelerator:
        tally = Tally(["order", "genus", "species"], 1000, accelerator)
        batch = draw(size=64, null_probability=0.3)
        losses = torch.rand(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for piece in torch.arange(64).split(10):
            tally.add(batch, piece, losses[piece])
        told, nothing = tally.close(), tally.sums.abs().sum().item()
    assert told["loss"] == pytest.approx(losses.mean().item()) and nothing == 0
    null = batch.label < 0
    assert told["loss_by_level"]["null"] == pytest.approx(losses[null].mean().item())
    for level, name in enumerate(["order", "genus", "species"]):
        mine = losses[~null & (batch.upto == level)]
        assert told["loss_by_level"][name] == pytest.approx(mine.mean().item())
    late = losses[(batch.t >= 750) & (batch.t < 1000)]
    assert told["loss_by_time"]["750-999"] == pytest.approx(late.mean().item())
    assert list(told["loss_by_time"]) == ["0-249", "250-499", "500-749", "750-999"]
