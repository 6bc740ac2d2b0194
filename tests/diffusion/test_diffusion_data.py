"""What a step sees follows from its number alone."""

import math

import numpy as np
import torch

from taxaforge.diffusion.backbone import load
from taxaforge.diffusion.data import Batch, Latents, batch_at, chosen_at
from taxaforge.diffusion.schedule import evenly, towards_the_middle
from taxaforge.diffusion.training import ema_decay, learning_rate, level_share
from taxaforge.packs import Pack


def draw(**changes) -> Batch:
    plain = {"seed": 0, "stage": "base", "step": 0, "size": 8, "labels": torch.arange(6) % 3, "flip": True}
    plain |= {
        "null_probability": 0.0,
        "level_share": [0.2, 0.3, 0.5],
        "timesteps": 1000,
        "places": evenly,
        "shape": (1, 2, 2),
    }
    return batch_at(**{**plain, **changes})


def test_every_epoch_visits_every_image_once_across_step_borders():
    seen = torch.cat([chosen_at(0, "base", step, 4, 10) for step in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_the_null_share_lies_in_its_binomial_interval():
    share, n = 0.1, 20_000
    null = (draw(size=n, null_probability=share).label < 0).sum().item()
    assert abs(null - n * share) < 3.29 * math.sqrt(n * share * (1 - share))


def test_null_lineages_use_every_level_that_the_stage_knows():
    batch = draw(size=400, null_probability=0.5, level_share=[0.4, 0.4, 0.2])
    assert (batch.upto[batch.label < 0] == 2).all()
    assert set(batch.upto[batch.label >= 0].tolist()) == {0, 1, 2}
    assert (draw(size=50, level_share=[0.0, 1.0, 0.0]).upto == 1).all()


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


def test_the_base_stage_shares_its_images_out_over_all_levels():
    assert sum(level_share("base", ["a", "b", "c"])) == 1 and min(level_share("base", ["a", "b", "c"])) > 0
    assert level_share("b", ["a", "b", "c"]) == [0, 1, 0] and level_share("base", ["a"]) == [1]


def test_the_learning_rate_rises_then_falls_to_nothing():
    rates = np.array([learning_rate(step, 100, 2.0) for step in range(100)])
    assert rates.max() == 2.0 and rates[0] < 0.5 and rates[-1] < 0.01
    assert (np.diff(rates[:5]) > 0).all() and (np.diff(rates[5:]) <= 0).all()


def test_the_average_forgets_the_random_start_of_a_short_run():
    kept = math.prod(ema_decay(step, 0.999) for step in range(200))
    assert kept < 1e-9 and ema_decay(10**6, 0.999) == 0.999


def test_pictures_are_mirrored_left_to_right_where_asked(stages, files):
    data, backbone = Pack.load(files["pack"]), load(stages["base"], texts=files["texts"])
    z = Latents(backbone, data)(torch.tensor([4, 4]), torch.tensor([False, True]))
    assert np.array_equal(backbone.to_image(z), np.stack([data.pixels[4], data.pixels[4][:, ::-1]]))
