"""What moves a learned token, and what says when it is good: the arithmetic of DIG-ZSL, many species at once.

    L_y = -log softmax over candidates c' of cos(judge(G(prompt of y)), v_c') / temperature,   own class y

The gradient reaches the token through one denoising step, decoder, judge and text encoder; the steps before it are
taken without. Source: DIG-ZSL (arXiv:2412.17219) [note], whose loss has no temperature; the gradient path "last"
from its predecessor's code, "Discriminative Class Tokens" (ICCV 2023) [code]; "x0_random" is ours [ext]; what is
drawn at once, and how, is [recon].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from taxaforge.diffusion import schedule
from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.sampler import Predict, sample
from taxaforge.errors import TaxaforgeError
from taxaforge.guidance.noise import initial_noise
from taxaforge.guidance.splice import Spliced
from taxaforge.guidance.terms import contrast, guided
from taxaforge.seeds import seed_of
from taxaforge.semantics.discriminator import Discriminator

LONGEST = 1.0
"""Longest gradient of a token; longer ones are shortened to it, after the backward pass."""


class NotLearned(TaxaforgeError):
    """A token left the finite numbers."""


def chance_of(images: Tensor, judge: Discriminator, candidates: Tensor, temperature: float) -> Tensor:
    """(b, K) log-probabilities of the candidate classes (K,) for pictures (b, 3, H, W) in -1..1."""
    cosines = judge(images) @ judge.prototypes[candidates].T
    return (cosines / temperature).log_softmax(1)


def middle(steps: int, *parts: object) -> int:
    """A step of the middle half of a schedule, never the first: where a foreseen image already has a shape, and the
    token still a say (the gain of methods.md 4.4). Drawn by `parts`."""
    low = max(1, steps // 4)
    return low + seed_of(*parts, "step") % (max(low + 1, 3 * steps // 4) - low)


@torch.no_grad()
def walked(predict: Predict, z: Tensor, noise: schedule.Sampler, until: Tensor) -> Tensor:
    """Latents (B, c, h, w) on the deterministic path, each at its own step `until` (B,); a schedule without memory."""
    z, steps = z.clone(), noise.timesteps
    for i in range(int(until.max())):
        rows = (until > i).nonzero().flatten().to(z.device)
        part = z[rows]
        z[rows] = noise.step(predict(part, steps[i], i / len(steps), rows), steps[i], part).prev_sample
    return z


@dataclass(frozen=True)
class Lesson:
    """All that stays the same while tokens are learned.

    Args:
        backbone, judge: frozen. text: the prompts of S species. species: their names.
        label: (S,) their class indices. candidates: (K,) classes that they compete with, all of theirs among them.
        cfg: `scale`, `temperature`, `images`, `held_out`, `steps`, `gradient`, `name`. seed: of the run.
    """

    backbone: Backbone
    judge: Discriminator
    text: Spliced
    species: list[str]
    label: Tensor
    candidates: Tensor
    cfg: dict
    seed: int

    def condition(self, rows: Tensor, who: Tensor) -> Tensor:
        """(b, n, d): the lineages of species `who` (b,) with tokens `rows` (b, D) in their finest level."""
        return self.backbone.prompted(self.label[who], *self.text(rows, who))

    def log_chance(self, images: Tensor, who: Tensor) -> tuple[Tensor, Tensor]:
        """(b,) log-probability of the own species in pictures, and whether it is the most probable."""
        chance = chance_of(images, self.judge, self.candidates, self.cfg["temperature"])
        own = (self.label[who][:, None] == self.candidates).long().argmax(1)
        return chance.gather(1, own[:, None])[:, 0], chance.argmax(1) == own

    def foreseen(self, z: Tensor, until: Tensor, condition: Tensor) -> Tensor:
        """The pictures that latents z (b, c, h, w) at steps `until` (b,) lead to, differentiable in the condition.

        "last": after the schedule's last step. "x0_random": the clean estimate at whatever step it is.
        """
        noise, scale = self.backbone.native_scheduler(self.cfg["steps"]), self.cfg["scale"]
        t = noise.timesteps[until].to(z.device)
        with torch.no_grad():
            away = self.backbone.predict(z, t, self._null(len(z)).to(z.dtype)) if scale != 1 else 0.0
        out = scale * self.backbone.predict(z, t, condition) + (1 - scale) * away
        if self.cfg["gradient"] == "last":
            z0 = noise.step(out, noise.timesteps[-1], z).prev_sample
        else:
            abar = schedule.signal_share(self.backbone.schedule, t, z)
            z0 = schedule.foreseen(self.backbone.native, out, z, abar)
        return self.backbone.images.decode(z0)

    def gradient(
        self,
        tokens: Sequence[nn.Parameter],
        learning: Sequence[int],
        update: int,
        at_once: int,
        seen: Callable[[int], None] = lambda images: None,
    ) -> list[float]:
        """Gradients of the species' mean losses, into `.grad` of their tokens, clipped; the losses.

        Args:
            tokens: S rows (D,). learning: places of the species to go through.
            update: number of the update; noise and step are drawn by it, so no token can fit to a noise.
            at_once: images in one batch, across species. 1 is one image a step, as in the predecessor's code;
                more change the result by rounding only.
            seen: told the number of images after every batch.
        Raises: NotLearned naming the species.
        """
        pairs = [(place, image) for place in learning for image in range(self.cfg["images"])]
        losses = dict.fromkeys(learning, 0.0)
        for first in range(0, len(pairs), at_once):
            part = pairs[first : first + at_once]
            who, condition = self._conditions(tokens, part)
            drawn = [(self.seed, "token", self.species[place], update) for place, _ in part]
            z = self._noise([(*parts, image) for parts, (_, image) in zip(drawn, part, strict=True)])
            last = self.cfg["gradient"] == "last"
            until = torch.tensor(
                [self.cfg["steps"] - 1 if last else middle(self.cfg["steps"], *parts) for parts in drawn]
            )
            predict = self._predict(condition.detach())
            z = walked(predict, z, self.backbone.native_scheduler(self.cfg["steps"]), until)
            loss = -self.log_chance(self.foreseen(z, until, condition), who)[0] / self.cfg["images"]
            loss.sum().backward()
            for (place, _), value in zip(part, loss.tolist(), strict=True):
                losses[place] += value
            seen(len(part))
        for place in learning:
            if not tokens[place].grad.isfinite().all():
                raise NotLearned(
                    f"Method {self.cfg['name']}: the gradient of the token of {self.species[place]} is not finite at "
                    f"update {update}. Lower `scale` or `learning_rate` of {self.cfg['name']} in guidance.recipes, and "
                    "look whether the loss of the diffusion stages stayed finite; what was learned before is saved."
                )
            nn.utils.clip_grad_norm_([tokens[place]], LONGEST)
        return [losses[place] for place in learning]

    @torch.no_grad()
    def look(
        self,
        tokens: Sequence[Tensor],
        learning: Sequence[int],
        at_once: int,
        seen: Callable[[int], None] = lambda images: None,
    ) -> list[tuple[float, float]]:
        """Of each species the share of its held-out images that are recognised, and their mean own probability.

        The same noise at every look, and none that an update draws.
        """
        pairs = [(place, image) for place in learning for image in range(self.cfg["held_out"])]
        found: dict[int, list[tuple[bool, float]]] = {place: [] for place in learning}
        noise = self.backbone.native_scheduler(self.cfg["steps"])
        for first in range(0, len(pairs), at_once):
            part = pairs[first : first + at_once]
            who, condition = self._conditions(tokens, part)
            z = self._noise([(self.seed, "token held out", self.species[place], image) for place, image in part])
            images = self.backbone.images.decode(sample(self._predict(condition), schedule.begun(noise, z), noise))
            log_chance, first_of_all = self.log_chance(images, who)
            scored = zip(part, first_of_all.tolist(), log_chance.exp().tolist(), strict=True)
            for (place, _), right, chance in scored:
                found[place].append((right, chance))
            seen(0)
        return [
            (sum(right for right, _ in values) / len(values), sum(chance for _, chance in values) / len(values))
            for values in found.values()
        ]

    def _conditions(self, tokens: Sequence[Tensor], part: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Species (b,) and conditions (b, n, d) of pairs (species, image); a species' text is read once."""
        places = list(dict.fromkeys(place for place, _ in part))
        device = self.backbone.device
        condition = self.condition(torch.stack([tokens[place] for place in places]), torch.tensor(places).to(device))
        back = torch.tensor([places.index(place) for place, _ in part], device=device)
        return torch.tensor([place for place, _ in part], device=device), condition[back]

    def _predict(self, condition: Tensor) -> Predict:
        scale = torch.full((len(condition),), self.cfg["scale"], dtype=condition.dtype, device=condition.device)
        return guided(self.backbone.predict, contrast(condition, self._null(len(condition)), scale))

    def _null(self, count: int) -> Tensor:
        return self.backbone.null(1).expand(count, -1, -1)

    def _noise(self, parts: Sequence[tuple]) -> Tensor:
        noise = initial_noise([seed_of(*one) for one in parts], self.backbone.latent_shape)
        return noise.to(self.backbone.device)
