"""A classifier that pulls on the picture being drawn, the harder the less it is sure of it.

    p    = softmax(guide(normalise(resize(decode(z0^)))))_y        its confidence in the clean picture z0^ foreseen
    g    = gradient of log p with respect to z_t
    S(p) = S (1 - p)^kappa
    raw         eps~ = eps^ - S(p) sqrt(1 - abar) g
    normalised  eps~ = eps^ - S(p) ||eps_c - eps_u|| g / ||g||     as long as the pull of the text is, image by image

Source: methods.md 3.1 [recon]. Only part of it is in print: that a classifier guides late, and that its confidence
modulates all strengths.
"""

from collections.abc import Callable, Sequence
from math import floor
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from taxaforge.diffusion import schedule
from taxaforge.diffusion.backbone import Backbone
from taxaforge.errors import TaxaforgeError
from taxaforge.guidance.terms import Step

if TYPE_CHECKING:
    from taxaforge.classification.model import Classifier

AT_ONCE = 2**18
"""Pixels decoded together for their gradient: one picture of 512 px, whose decoder keeps gigabytes, or 256 of 32 px."""
ALONE = 0.08
"""What stands for ||eps_c - eps_u|| / ||eps^|| where the recipe has one branch, so that there is nothing to compare
with: its mean in the last 30 % of the denoising, 0.05 rising to 0.13, for lineages against the null lineage on the
default run's generator [ext]."""

Watch = Callable[[Step, Tensor, Tensor | None], None]
"""(step, S (b,), p (b,) or None where the guide was not asked), before the confidence of the step counts."""


class GradientNotFinite(TaxaforgeError):
    """The guide's confidence or its gradient left the finite numbers. images: identifiers."""

    def __init__(self, method: str, u: float, images: Sequence[str], species: Sequence[str]):
        self.u, self.images, self.species = u, list(images), list(species)
        listed = ", ".join(f"{image} ({name})" for image, name in list(zip(images, species, strict=True))[:3])
        more = f" and {len(self.images) - 3} more" if len(self.images) > 3 else ""
        super().__init__(
            f"Method {method}: the guide's gradient is NaN or infinite at {u:.0%} of the denoising in "
            f"{len(self.images)} image(s): {listed}{more}. Raise the method's `split`, so that the guide sees clearer "
            "pictures, or lower its `scale`; if that does not help, look whether the guide and the diffusion stages "
            "were trained to finite losses."
        )


class Confidence:
    """What strengths that follow the guide's confidence share: `factor` (B,) in 0..1, 1 until an image was looked at.

    Args:
        modulation: where falling confidence leads the factor: "decrease" it is p, "increase" 1 - p, "constant" 1.
    The factor follows the step before: this step's p is only known once its prediction is there.
    """

    def __init__(self, images: int, modulation: str, device: torch.device | str = "cpu"):
        self.factor, self.modulation = torch.ones(images, device=device), modulation

    def hear(self, rows: Tensor, p: Tensor) -> None:
        """p (b,) of the images at places rows (b,)."""
        if self.modulation != "constant":
            p = p.detach().to(self.factor.dtype)
            self.factor = self.factor.index_copy(0, rows, p if self.modulation == "decrease" else 1 - p)


class Pull:
    """The gradient term, a `Correction`.

    Args:
        backbone: whose schedule and decoder say what picture a prediction foresees.
        guide: in eval mode, without gradients on its weights.
        target: (B,) long, the class among `guide.classes` that each image is pulled towards.
        cfg: split (K: active from step floor(K N) of N on), strength (S), power (kappa), gradient ("cheap": eps^
            held constant, so that no gradient goes through the denoiser, or "full"), normalise, clip (longest raw
            gradient, 0: any), modulation, steps (N), name (of the method).
        images, species: (B,) names for messages.
        confidence: hears p of every active step.
    The decoder and the guide compute in fp32 at least, outside autocast, each image for itself.
    """

    def __init__(
        self,
        backbone: Backbone,
        guide: "Classifier",
        target: Tensor,
        cfg: dict,
        images: Sequence[str],
        species: Sequence[str],
        confidence: Confidence,
        watch: Watch = lambda step, strength, p: None,
    ):
        self.backbone, self.guide, self.cfg = backbone, guide, cfg
        self.target, self.images, self.species = target.to(guide.device), list(images), list(species)
        self.confidence, self.watch = confidence, watch
        self.since = floor(cfg["split"] * cfg["steps"] + 1e-6) / cfg["steps"] - 1e-9

    def __call__(self, step: Step) -> Tensor:
        """The prediction, moved towards the target. Raises GradientNotFinite."""
        pulls, modulates = self.cfg["strength"] > 0, self.cfg["modulation"] != "constant"
        if step.u < self.since or not (pulls or modulates):
            self.watch(step, step.z.new_zeros(len(step.z)), None)
            return step.prediction
        abar = schedule.signal_share(self.backbone.schedule, step.t.expand(len(step.z)), step.z)
        log_p, g = self.gradient(step, abar) if pulls else (self.log_confidence(step, abar), None)
        self._finite(step, log_p, g)
        p = log_p.exp()
        strength = self.cfg["strength"] * (1 - p) ** self.cfg["power"]
        self.watch(step, strength, p)
        self.confidence.hear(step.rows, p)
        if g is None:
            return step.prediction
        return moved(self.backbone.native, step.prediction, self.shift(step, abar, strength, g), abar)

    def shift(self, step: Step, abar: Tensor, strength: Tensor, g: Tensor) -> Tensor:
        """What is added to the noise prediction, against g: (b, c, h, w), at strengths (b,)."""
        if not self.cfg["normalise"]:
            if self.cfg["clip"]:
                g = g * (self.cfg["clip"] / length(g)).clamp(max=1)
            return -_each(strength, g) * (1 - abar).sqrt() * g
        if len(step.outs) > 1:
            reach = length(step.outs[0] - step.outs[1]) * per_native(self.backbone.native, abar)
        else:
            reach = ALONE * length(schedule.to_eps(self.backbone.native, step.prediction, step.z, abar))
        return -_each(strength, g) * reach * g / length(g)

    def log_confidence(self, step: Step, abar: Tensor) -> Tensor:
        """log p (b,) of the clean pictures that the prediction foresees."""
        z0 = schedule.foreseen(self.backbone.native, step.prediction, step.z, abar)
        return torch.cat([log_p for log_p, _ in self._looks(z0, step.rows, gradient=False)])

    def gradient(self, step: Step, abar: Tensor) -> tuple[Tensor, Tensor]:
        """log p (b,) and its gradient with respect to z (b, c, h, w), each image's own."""
        if self.cfg["gradient"] == "cheap":
            z0 = schedule.foreseen(self.backbone.native, step.prediction, step.z, abar)
        else:
            with torch.enable_grad():
                z = step.z.detach().requires_grad_()
                z0 = schedule.foreseen(self.backbone.native, step.predict(z), z, abar)
        log_p, of_z0 = map(torch.cat, zip(*self._looks(z0.detach(), step.rows, gradient=True), strict=True))
        of_z0 = of_z0.to(step.z.dtype)
        if self.cfg["gradient"] == "cheap":
            return log_p, of_z0 / abar.sqrt()
        return log_p, torch.autograd.grad(z0, z, of_z0.to(z0.dtype))[0]

    def _looks(self, z0: Tensor, rows: Tensor, gradient: bool):
        """(log p, its gradient with respect to z0) of a few images after the other, as memory allows."""
        few = max(1, AT_ONCE // self.backbone.images.size**2)
        target = self.target[rows.to(self.target.device)]
        # A sum, not a mean: a mean would make each image's gradient smaller, the more are drawn beside it.
        for part, own in zip(z0.split(few), target.split(few), strict=True):
            with torch.autocast(part.device.type, enabled=False), torch.set_grad_enabled(gradient):
                part = (part if part.dtype == torch.float64 else part.float()).detach().requires_grad_(gradient)
                logits = self.guide.net(prepared(self.guide, self.backbone.images.decode(part)))
                log_p = logits.log_softmax(1).gather(1, own[:, None])[:, 0]
                of_part = torch.autograd.grad(log_p.sum(), part)[0] if gradient else part
            yield log_p.detach(), of_part

    def _finite(self, step: Step, log_p: Tensor, g: Tensor | None) -> None:
        good = log_p.isfinite() if g is None else log_p.isfinite() & g.isfinite().flatten(1).all(1)
        if not good.all():
            bad = step.rows[~good].tolist()
            raise GradientNotFinite(
                self.cfg["name"], step.u, [self.images[row] for row in bad], [self.species[row] for row in bad]
            )


def prepared(guide: "Classifier", images: Tensor) -> Tensor:
    """Decoded pictures (B, 3, H, W), about -1..1, as the guide takes them: what it does to uint8, but differentiable."""
    x, size = ((images + 1) / 2).clamp(0, 1), (guide.image_size, guide.image_size)
    if x.shape[-2:] != size:
        x = F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return guide.normalised(x)


def per_native(native: str, abar: Tensor) -> Tensor:
    """How far the noise prediction moves where the native one moves by 1, at the same z."""
    return abar.sqrt() if native == "v_prediction" else torch.ones_like(abar)


def moved(native: str, prediction: Tensor, by: Tensor, abar: Tensor) -> Tensor:
    """A native prediction whose noise prediction is moved by `by` (methods.md G5)."""
    return prediction + (by / per_native(native, abar)).to(prediction.dtype)


def length(x: Tensor) -> Tensor:
    """Euclidean length of each image's numbers (B, 1, 1, 1), never 0."""
    return torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)


def _each(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like).view(-1, 1, 1, 1)
