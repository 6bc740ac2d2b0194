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


def of_checkpoint(config: dict) -> DDIMScheduler:
    """DDIM on the betas of a pipeline whose scheduler config this is.

    Everything that DDIM would silently choose otherwise is explicit: a PNDM config carries no
    `clip_sample`, and the default True falsifies every closed form for latents.
    """
    return DDIMScheduler.from_config(config, clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def for_sampling(schedule: DDIMScheduler, steps: int) -> DDIMScheduler:
    """The same betas with `steps` timesteps set, stepping on noise predictions whatever the network predicts."""
    sampler = DDIMScheduler.from_config(schedule.config, prediction_type="epsilon")
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
