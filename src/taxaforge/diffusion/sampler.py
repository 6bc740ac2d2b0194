"""From noise to image: the one loop that every guidance method draws through.

A method is what `predict` does (`guidance/terms.py`); where an image starts is what `z` and `start` say. The
loop itself knows no method, seed, file, device or progress bar.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from taxaforge.diffusion.schedule import Sampler
from taxaforge.errors import TaxaforgeError

Predict = Callable[[Tensor, Tensor, float, Tensor], Tensor]
"""(z, t, u, rows) -> what the schedule's `prediction_type` names (noise, or v), in the shape of z: the images at the
places `rows` (b,) of the batch, z (b, c, h, w) = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps whatever the schedule."""

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


class _Together:
    """The images of a batch that start at one step, and a schedule of their own: some schedules remember steps."""

    def __init__(self, first: int, rows: Tensor, schedule: Sampler):
        self.first, self.rows, self.schedule = first, rows, copy.deepcopy(schedule)
        if hasattr(self.schedule, "set_begin_index"):
            self.schedule.set_begin_index(first)


@torch.no_grad()
def sample(
    predict: Predict, z: Tensor, schedule: Sampler, start: int | Tensor = 0, watch: Watch | None = None
) -> Tensor:
    """Follow a deterministic path from noised latents down to clean ones.

    Args:
        predict: the guided prediction, called once a step for all images that have started. u in [0, 1) is
            the position in the whole schedule, skipped steps included: 0 is pure noise.
        z: (B, c, h, w) as `schedule.begun` makes it: pure noise, or images noised to where they start.
            Nothing random happens in here; as long as `predict` keeps images apart, batch size and order
            change them by rounding only.
        schedule: timesteps set, the betas the model was trained with, and as `prediction_type` whatever
            `predict` returns; see `schedule.for_sampling`. It is left as it was.
        start: the step each image starts at, one for all or (B,) long. Images wait for their step.
        watch: sees every step; for progress, films and tests.
    Returns:
        (B, c, h, w), dtype and device of `z`, clipped only if the schedule clips.
    Raises: NotFinite, naming the step and the images.
    Source of the default: Song et al. 2021 (arXiv:2010.02502), Eq. 12 with sigma 0.
    """
    steps, begins = schedule.timesteps, torch.as_tensor(start).expand(len(z)).cpu()
    groups = [
        _Together(first, (begins == first).nonzero().flatten().to(z.device), schedule)
        for first in sorted(set(begins.tolist()))
    ]
    whole = len(groups) == 1  # then no image is ever picked out, and nothing is copied
    for i in range(groups[0].first, len(steps)):
        t, u, now = steps[i], i / len(steps), [group for group in groups if group.first <= i]
        parts = [z] if whole else [z[group.rows] for group in now]
        scaled = [group.schedule.scale_model_input(part, t) for group, part in zip(now, parts, strict=True)]
        seen, rows = (scaled[0], now[0].rows) if whole else (torch.cat(scaled), torch.cat([g.rows for g in now]))
        prediction = predict(seen, t, u, rows)
        if watch:
            watch(i, seen, prediction)
        pieces = prediction.split([len(part) for part in parts])
        moved = [
            group.schedule.step(piece, t, part).prev_sample
            for group, piece, part in zip(now, pieces, parts, strict=True)
        ]
        if whole:
            z = moved[0]
        else:
            z = z.clone()
            for group, part in zip(now, moved, strict=True):
                z[group.rows] = part
        finite = z.isfinite().flatten(1).all(1)
        if not finite.all():
            raise NotFinite(step=i, images=(~finite).nonzero().flatten().tolist())
    return z
