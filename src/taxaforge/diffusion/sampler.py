"""From noise to image: the one loop that every guidance method draws through.

A method is what `predict` does (`terms.py`); where an image starts is what `z` and `start` say. The
loop itself knows no method, seed, file, device or progress bar.
"""

from collections.abc import Callable, Sequence

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from taxaforge.errors import TaxaforgeError

Predict = Callable[[Tensor, Tensor, float], Tensor]
"""(z, t, u) -> what the schedule's `prediction_type` names (noise, or v), in the shape of z."""

Watch = Callable[[int, Tensor, Tensor], None]
"""(step, z, prediction), before the step is taken."""


class NotFinite(TaxaforgeError):
    """Sampling left the finite numbers. `step` counts from 0, `images` are positions or identifiers."""

    def __init__(self, step: int, images: Sequence[object], method: str = ""):
        self.step, self.images = step, list(images)
        more = len(self.images) - 3
        listed = ", ".join(map(str, self.images[:3])) + (f" and {more} more" if more > 0 else "")
        super().__init__(
            f"{f'Method {method}: ' if method else ''}NaN or infinity at denoising step {step} in {len(self.images)} "
            f"image(s): {listed}. The prediction blew up: lower the method's scale, and look whether the loss of the "
            "diffusion stages stayed finite."
        )


@torch.no_grad()
def sample(predict: Predict, z: Tensor, schedule: DDIMScheduler, start: int = 0, watch: Watch | None = None) -> Tensor:
    """Follow the deterministic DDIM path from a noised latent down to a clean one.

    Args:
        predict: the guided prediction, called once a step. u in [0, 1) is the position in the whole
            schedule, skipped steps included: 0 is pure noise.
        z: (B, c, h, w) at `schedule.timesteps[start]`: unit noise for start 0, otherwise an image
            noised to that step. Nothing random happens in here; as long as `predict` keeps images
            apart, batch size and order change them by rounding only.
        schedule: timesteps set, the `alphas_cumprod` the model was trained with, and as
            `prediction_type` whatever `predict` returns.
        watch: sees every step; for progress, films and tests.
    Returns:
        (B, c, h, w), dtype and device of `z`, clipped only if the schedule clips.
    Raises: NotFinite, naming the step and the images.
    Source: Song et al. 2021 (arXiv:2010.02502), Eq. 12 with sigma 0.
    """
    steps = schedule.timesteps
    for i in range(start, len(steps)):
        prediction = predict(z, steps[i], i / len(steps))
        if watch:
            watch(i, z, prediction)
        z = schedule.step(prediction, steps[i], z).prev_sample
        finite = z.isfinite().flatten(1).all(1)
        if not finite.all():
            raise NotFinite(step=i, images=(~finite).nonzero().flatten().tolist())
    return z
