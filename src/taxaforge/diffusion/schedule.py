"""The one noise schedule of a run: training, sampling and every conversion between predictions use it.

z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps,   v = sqrt(abar_t) eps - sqrt(1 - abar_t) z_0
"""

from math import floor

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from taxaforge.errors import TaxaforgeError

Sampler = DDIMScheduler | DPMSolverMultistepScheduler | EulerDiscreteScheduler | UniPCMultistepScheduler
SAMPLERS: dict[str, type[Sampler]] = {
    "ddim": DDIMScheduler,
    "dpm++": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "unipc": UniPCMultistepScheduler,
}
"""Ways down the same betas, all deterministic. DPM-Solver++ (arXiv:2211.01095) and UniPC (arXiv:2302.04867) look back
at earlier steps and need fewer of them."""

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


def for_sampling(schedule: DDIMScheduler, steps: int, prediction_type: str = "epsilon", kind: str = "ddim") -> Sampler:
    """The same betas with `steps` timesteps set, stepping on predictions of that type whatever the network predicts.

    Args:
        kind: one of SAMPLERS, each with the timesteps that the library gives it.
    Raises: TaxaforgeError for any other kind.
    """
    if kind not in SAMPLERS:
        raise TaxaforgeError(
            f"guidance.scheduler {kind!r} is no way of denoising known here. Take one of {', '.join(SAMPLERS)}."
        )
    # Some of these default to another last step, or refuse a setting of the others: only what all share is handed on.
    shared = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "timestep_spacing")
    if kind == "ddim":
        sampler = DDIMScheduler.from_config(schedule.config, prediction_type=prediction_type)
    else:
        settings = {name: schedule.config[name] for name in (*shared, "steps_offset")}
        sampler = SAMPLERS[kind](**settings, prediction_type=prediction_type)
    sampler.set_timesteps(steps)
    return sampler


def first_step(steps: int, strength: float) -> int:
    """The step at which an image noised to `strength` in 0..1 starts: the last `strength` of the schedule is run.

    At least one step is run. The small addition keeps 50 steps at 0.58 from being 28 instead of 29.
    """
    return steps - min(steps, max(1, floor(steps * strength + 1e-6)))


def begun(schedule: Sampler, eps: Tensor, z0: Tensor | None = None, start: Tensor | None = None) -> Tensor:
    """Where sampling starts, in the schedule's own scale: unit noise eps (B, c, h, w), or z0 noised to step start (B,).

    Even at step 0 an image is noised, not replaced: at strength 1 some 7 % of it shine through at the betas of
    Stable Diffusion (nothing measurable at cosine betas), as in the library's image-to-image pipelines.
    """
    if z0 is None:
        return eps * schedule.init_noise_sigma
    return schedule.add_noise(z0, eps, schedule.timesteps[start.cpu()].to(eps.device))


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
    return schedule.alphas_cumprod.to(like.device)[torch.as_tensor(t).long()].to(like.dtype).view(-1, 1, 1, 1)


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


def foreseen(kind: str, out: Tensor, z: Tensor, abar: Tensor) -> Tensor:
    """The clean latents z0^ that a network's output foresees; by v nothing is divided by abar, which may be 1e-9."""
    if kind == "v_prediction":
        return abar.sqrt() * z - (1 - abar).sqrt() * out
    return (z - (1 - abar).sqrt() * out) / abar.sqrt()


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
