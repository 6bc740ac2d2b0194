"""The one noise schedule of a run: training, sampling and every conversion between predictions use it.

z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps,   v = sqrt(abar_t) eps - sqrt(1 - abar_t) z_0
"""

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

SMALL = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
}
"""The pixel backbone: cosine betas end at abar = 2.4e-9, where only v is well conditioned."""


SMALL_EPSILON = {
    **SMALL,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
}
"""The pixel backbone where it predicts the noise: betas that keep sqrt(abar) = 0.068 at the last step, so that
dividing by it is harmless."""


def small(prediction: str) -> DDIMScheduler:
    """The schedule of a fresh pixel backbone; prediction: "epsilon" or "v_prediction"."""
    return DDIMScheduler(**(SMALL_EPSILON if prediction == "epsilon" else SMALL))


def of_checkpoint(config: dict) -> DDIMScheduler:
    """DDIM on the betas of a pipeline whose scheduler config this is.

    Everything that DDIM would silently choose otherwise is explicit: a PNDM config carries no
    `clip_sample`, and the default True falsifies every closed form for latents.
    """
    return DDIMScheduler.from_config(config, clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def for_sampling(schedule: DDIMScheduler, steps: int, prediction_type: str = "epsilon") -> DDIMScheduler:
    """The same betas with `steps` timesteps set, stepping on predictions of that type whatever the network predicts."""
    sampler = DDIMScheduler.from_config(schedule.config, prediction_type=prediction_type)
    sampler.set_timesteps(steps)
    return sampler


def evenly(share: Tensor) -> Tensor:
    """Training timesteps as the published recipes draw them: every place in the schedule alike."""
    return share


def towards_the_middle(share: Tensor) -> Tensor:
    """Shares 0..1 of a batch -> places 0..1 in the schedule, dense where a picture takes shape.

    Logit-normal, mean 0.3, sd 1.2; Esser et al. 2024 (arXiv:2403.03206), Sec. 3.1, for a short training
    from scratch, which cannot afford many looks at almost clean and almost pure noise.
    """
    return torch.sigmoid(0.3 + 1.2 * torch.special.ndtri(share))


def signal_share(schedule: DDIMScheduler, t: Tensor, like: Tensor) -> Tensor:
    """abar_t as (B, 1, 1, 1) on the device and in the dtype of `like`."""
    return schedule.alphas_cumprod.to(like.device)[t].to(like.dtype).view(-1, 1, 1, 1)


def noised(z0: Tensor, eps: Tensor, abar: Tensor) -> Tensor:
    """z_t of clean latents: all (B, c, h, w) but abar (B, 1, 1, 1)."""
    return abar.sqrt() * z0 + (1 - abar).sqrt() * eps


def target(kind: str, z0: Tensor, eps: Tensor, abar: Tensor) -> Tensor:
    """What a network of this prediction type is trained to say."""
    if kind == "v_prediction":
        return abar.sqrt() * eps - (1 - abar).sqrt() * z0
    return eps


def loss_weight(kind: str, abar: Tensor, gamma: float) -> Tensor:
    """Min-SNR weight (B,) of images at abar (B,): min(snr, gamma) over snr for noise, over snr + 1 for v.

    Clean images are easy and many steps see them; the cap keeps them from ruling the gradient. gamma 0
    weighs all alike. Source: Hang et al. 2023 (arXiv:2303.09556), Sec. 3.4; the paper's gamma is 5.
    """
    if not gamma:
        return torch.ones_like(abar)
    snr = abar / (1 - abar)
    return snr.clamp(max=gamma) / (snr + 1 if kind == "v_prediction" else snr)


def to_eps(kind: str, out: Tensor, z: Tensor, abar: Tensor) -> Tensor:
    """The noise prediction in a network's output.

    >>> import torch
    >>> abar, z0, eps = torch.tensor(0.3), torch.tensor(-0.5), torch.tensor(1.25)
    >>> round(to_eps("v_prediction", target("v_prediction", z0, eps, abar), noised(z0, eps, abar), abar).item(), 6)
    1.25
    """
    if kind == "v_prediction":
        return abar.sqrt() * out + (1 - abar).sqrt() * z
    return out
