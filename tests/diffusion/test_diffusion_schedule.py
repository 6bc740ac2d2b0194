"""One schedule for training and sampling, in closed form."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler

from taxaforge.diffusion import schedule
from taxaforge.diffusion.backbone import load
from taxaforge.diffusion.codec import GAIN
from taxaforge.diffusion.texts import centred

SD = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True).config


def test_stable_diffusion_keeps_its_betas_and_is_never_clipped():
    noise = schedule.of_checkpoint(SD)
    exact = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    assert noise.alphas_cumprod[500].item() == pytest.approx(0.2763, abs=1e-4)
    assert np.abs(noise.alphas_cumprod.numpy() - exact).max() < 1e-5
    assert noise.config.clip_sample is False and noise.config.set_alpha_to_one is False


@pytest.mark.parametrize("config", [schedule.of_checkpoint(SD).config, schedule.SMALL], ids=["sd", "small"])
def test_sampling_uses_the_tensor_that_training_used(config):
    noise = DDIMScheduler.from_config(config)
    sampler = schedule.for_sampling(noise, 7)
    assert torch.equal(sampler.alphas_cumprod, noise.alphas_cumprod)
    assert len(sampler.timesteps) == 7 and sampler.config.clip_sample is False


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_gives_back_the_noise(kind):
    generator = torch.Generator().manual_seed(0)
    z0, eps = (torch.randn(5, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    abar = torch.rand(5, 1, 1, 1, generator=generator, dtype=torch.float64)
    said = schedule.target(kind, z0, eps, abar)
    back = schedule.to_eps(kind, said, schedule.noised(z0, eps, abar), abar)
    assert (back - eps).abs().max() < 1e-12


def test_ddim_with_a_perfect_predictor_ends_at_the_image_from_pure_noise():
    noise = DDIMScheduler(**schedule.SMALL)
    sampler = schedule.for_sampling(noise, 10)
    assert sampler.timesteps[0] == 999  # trailing: starts where nothing of the image is left
    z0 = torch.linspace(-1, 1, 12, dtype=torch.float64).view(1, 3, 2, 2)
    z = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in sampler.timesteps:
        abar = schedule.signal_share(noise, t[None], z)
        z = sampler.step((z - abar.sqrt() * z0) / (1 - abar).sqrt(), t, z).prev_sample
    assert (z - z0).abs().max() < 1e-3  # abar_999 = 2.4e-9 in single precision


def test_a_loaded_generator_calls_noise_what_its_scheduler_steps_on(stages, files):
    backbone = load(stages["species"], texts=files["texts"])
    assert backbone.native == "v_prediction"
    assert backbone.prediction_type == backbone.scheduler(5).config.prediction_type == "epsilon"
    z, t = torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([10, 700])
    tokens = backbone.null(2)
    abar = schedule.signal_share(backbone.schedule, t, z)
    v = backbone.predict(z, t, tokens)
    assert (backbone(z, t, tokens) - (abar.sqrt() * v + (1 - abar).sqrt() * z)).abs().max() < 1e-6
    one = backbone(z[1:], 700, tokens[1:])
    assert (one - backbone(z, t, tokens)[1:]).abs().max() < 1e-5


def test_pictures_survive_the_way_to_latents_and_back(stages, files):
    backbone = load(stages["base"], texts=files["texts"])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    latents = backbone.to_latent(pixels)
    assert latents.shape == (2, *backbone.latent_shape) and latents.abs().max() <= GAIN
    assert np.array_equal(backbone.to_image(latents), pixels)


def test_the_null_condition_goes_through_all_level_modules_on_their_null_texts(stages, files, lineages):
    backbone = load(stages["species"], texts=files["texts"])
    expected = sum(
        encoder(lineages.tokens[lineages.null[level]][None])
        for level, encoder in enumerate(backbone.conditioning.encoders)
    )
    assert (backbone.null(2) - expected).abs().max() < 1e-5


def test_centred_tokens_share_nothing_and_have_unit_variance():
    tokens = centred(torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(0)) * 3 + 5)
    assert tokens.mean(0).abs().max() < 1e-5 and abs(tokens.std().item() - 1) < 1e-5


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weights_both_predictions_to_one_loss_on_the_image(kind):
    """Both are min(snr, gamma) times the squared error of the clean image that the prediction stands for."""
    generator = torch.Generator().manual_seed(0)
    z0, eps, error = (torch.randn(6, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(3))
    abar = torch.tensor([0.999, 0.9, 0.8, 0.5, 0.1, 0.01], dtype=torch.float64)
    shape = abar.view(-1, 1, 1, 1)
    z, said = schedule.noised(z0, eps, shape), schedule.target(kind, z0, eps, shape) + error
    clean = (z - (1 - shape).sqrt() * schedule.to_eps(kind, said, z, shape)) / shape.sqrt()
    on_image = (clean - z0).square().flatten(1).mean(1)
    weighted = schedule.loss_weight(kind, abar, 5.0) * error.square().flatten(1).mean(1)
    snr = abar / (1 - abar)
    assert torch.allclose(weighted, snr.clamp(max=5) * on_image)
    assert torch.equal(schedule.loss_weight(kind, abar, 0.0), torch.ones_like(abar))


def test_a_small_denoiser_of_noise_keeps_some_signal_at_its_last_step():
    assert schedule.small("epsilon").alphas_cumprod[-1].sqrt().item() == pytest.approx(0.068, abs=1e-3)
    assert schedule.small("v_prediction").config.prediction_type == "v_prediction"
