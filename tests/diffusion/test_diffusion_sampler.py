"""The loop against closed forms: Gaussian data has an exact flow from noise to image."""

import pytest
import torch
from diffusers import DDIMScheduler

from taxaforge.diffusion.sampler import NotFinite, sample
from taxaforge.guidance.terms import contrast, guided

MEAN, SPREAD = 0.3, 0.5


def schedule(steps, kind="epsilon"):
    made = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        timestep_spacing="trailing",
        prediction_type=kind,
    )
    made.set_timesteps(steps)
    return made


ABAR = schedule(1).alphas_cumprod.double()
NOISE = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def exact_eps(z, t, mean):
    """E[eps | z_t] for data N(mean, SPREAD**2), each pixel alone."""
    abar = ABAR[t]
    return (1 - abar).sqrt() * (z - abar.sqrt() * mean) / (abar * SPREAD**2 + 1 - abar)


def exact_flow(z, mean, t=999):
    """Where the probability flow takes z at step t: the same quantile of the data."""
    abar = ABAR[t]
    return mean + SPREAD * (z - abar.sqrt() * mean) / (abar * SPREAD**2 + 1 - abar).sqrt()


def gaussian(z, t, u, rows=None):
    return exact_eps(z, t, MEAN)


def test_doubling_the_steps_halves_the_distance_to_the_exact_flow():
    error = [(sample(gaussian, NOISE, schedule(n)) - exact_flow(NOISE, MEAN)).abs().max() for n in (50, 100, 200)]
    assert error[-1] < 0.04
    assert 1.8 < error[0] / error[1] < 2.2
    assert 1.8 < error[1] / error[2] < 2.2


def test_a_later_start_follows_the_flow_from_there():
    plan = schedule(200)
    start = 80
    error = sample(gaussian, NOISE, plan, start=start) - exact_flow(NOISE, MEAN, t=plan.timesteps[start])
    assert error.abs().max() < 0.04


def test_contrast_of_two_gaussians_is_the_gaussian_beyond_the_first():
    """Equal spreads make the score linear in the mean, so guidance must land at mean0 + s (mean1 - mean0)."""
    means = torch.tensor([[[0.4]], [[0.1]]], dtype=torch.float64)
    scale = torch.tensor([2.0, 1.0, 0.0, 3.5], dtype=torch.float64)

    def backbone(z, t, tokens):
        return exact_eps(z, t, tokens.view(-1, 1, 1, 1))

    term = contrast(means[0].expand(4, 1, 1), means[1].expand(4, 1, 1), scale)
    beyond = (0.1 + scale * 0.3).view(-1, 1, 1, 1)
    found = sample(guided(backbone, term), NOISE, schedule(200))
    assert (found - sample(lambda z, t, u, rows: exact_eps(z, t, beyond), NOISE, schedule(200))).abs().max() < 1e-9
    assert (found - exact_flow(NOISE, beyond)).abs().max() < 0.04


def test_predicting_v_or_noise_draws_the_same_image():
    def v(z, t, u, rows):
        abar, eps = ABAR[t], gaussian(z, t, u)
        return (eps - (1 - abar).sqrt() * z) / abar.sqrt()

    ends = sample(gaussian, NOISE, schedule(25)), sample(v, NOISE, schedule(25, "v_prediction"))
    assert (ends[0] - ends[1]).abs().max() < 1e-5  # the library keeps its betas in float32


def test_u_is_the_position_in_the_whole_schedule():
    seen = []
    sample(lambda z, t, u, rows: seen.append(u) or gaussian(z, t, u), NOISE, schedule(10), start=7)
    assert seen == [0.7, 0.8, 0.9]


def test_watch_sees_every_step_and_changes_nothing():
    seen = []
    watched = sample(gaussian, NOISE, schedule(5), watch=lambda i, z, eps: seen.append((i, z.clone(), eps.clone())))
    assert torch.equal(watched, sample(gaussian, NOISE, schedule(5)))
    assert [i for i, _, _ in seen] == [0, 1, 2, 3, 4]
    assert torch.equal(seen[0][1], NOISE)
    assert torch.equal(seen[0][2], gaussian(NOISE, 999, 0.0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_stops_the_job_and_names_step_and_images(bad):
    def breaks(z, t, u, rows):
        eps = gaussian(z, t, u)
        if u >= 0.6:
            eps[[1, 3], 0, 2, 2] = bad
        return eps

    with pytest.raises(NotFinite, match="step 3 in 2 image") as caught:
        sample(breaks, NOISE, schedule(5))
    assert (caught.value.step, caught.value.images) == (3, [1, 3])
