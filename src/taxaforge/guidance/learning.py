"""All tokens of a run on their way: who still learns, whose best look was which, and how to go on after a kill."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from taxaforge.guidance.lesson import Lesson

EVERY = 3
"""Updates between looks at the held-out images. With 5 looks of patience that is the predecessor's 15 updates."""


@dataclass
class Standing:
    """How far a species is. top1, chance: of the best look. kept: the update whose token that was. stale: looks since
    top1 last rose. updates: made so far."""

    top1: float = -1.0
    chance: float = -1.0
    kept: int = 0
    stale: int = 0
    updates: int = 0
    done: bool = False

    def looked(self, top1: float, chance: float, stop: float, patience: int) -> bool:
        """Takes note of a look; True where its token is the best so far.

        Only recognition ends the learning, above `stop` or by patience: a loss may fall for ever without it.
        Between tokens that are recognised alike the more probable one is kept.
        """
        best = (top1, chance) > (self.top1, self.chance)
        self.stale = 0 if top1 > self.top1 else self.stale + 1
        if best:
            self.top1, self.chance, self.kept = top1, chance, self.updates
        self.done = top1 > stop or self.stale >= patience
        return best


class Learning:
    """The tokens on their way: rows, optimiser and standings of all species.

    Attributes: tokens: S parameters (D,), nothing else is ever moved. best: (S, D). update: number made.
    """

    def __init__(self, lesson: Lesson):
        self.lesson, self.update, self.history = lesson, 0, []
        self.tokens = [nn.Parameter(row.clone()) for row in lesson.text.first]
        self.best = lesson.text.first.clone()
        self.standing = [Standing() for _ in self.tokens]
        self.optimiser = torch.optim.AdamW(self.tokens, lr=lesson.cfg["learning_rate"], weight_decay=0.0)

    @property
    def places(self) -> list[int]:
        """Places of the species that are not done."""
        return [place for place, standing in enumerate(self.standing) if not standing.done]

    def advance(self, at_once: int, seen: Callable[[int], None]) -> float:
        """One update of every species that still learns; their mean loss."""
        learning = self.places
        self.optimiser.zero_grad(set_to_none=True)  # without a gradient a token and its moments stay as they are
        losses = self.lesson.gradient(self.tokens, learning, self.update, at_once, seen)
        self.optimiser.step()
        self.update += 1
        for place, loss in zip(learning, losses, strict=True):
            self.standing[place].updates = self.update
            self.history.append({"species": self.lesson.species[place], "update": self.update, "loss": loss})
        return sum(losses) / len(losses)

    def look(self, at_once: int, seen: Callable[[int], None]) -> None:
        """Draws the held-out images of every species that still learns, and takes note."""
        cfg, learning = self.lesson.cfg, self.places
        for place, (top1, chance) in zip(learning, self.lesson.look(self.tokens, learning, at_once, seen), strict=True):
            if self.standing[place].looked(top1, chance, cfg["stop"], cfg["patience"]):
                self.best[place] = self.tokens[place].detach()
            note = {"species": self.lesson.species[place], "update": self.update, "top1": top1, "chance": chance}
            self.history.append(note)

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Tensors and plain values from which `restore` goes on to the same bits."""
        moments = [self.optimiser.state.get(token, {}) for token in self.tokens]
        zero, none = torch.zeros_like(self.best[0]), torch.zeros(())
        tensors = {"tokens": torch.stack([token.detach() for token in self.tokens]), "best": self.best}
        for name, missing in (("exp_avg", zero), ("exp_avg_sq", zero), ("step", none)):
            tensors[name] = torch.stack([held.get(name, missing) for held in moments])
        return tensors, {"standing": [asdict(standing) for standing in self.standing], "history": self.history}

    def restore(self, update: int, tensors: dict[str, Tensor], facts: dict) -> None:
        device = self.best.device
        self.update, self.history, self.best = update, facts["history"], tensors["best"].to(device)
        self.standing = [Standing(**values) for values in facts["standing"]]
        moments = {}
        for place, token in enumerate(self.tokens):
            token.data.copy_(tensors["tokens"][place])
            if tensors["step"][place] > 0:
                moments[place] = {name: tensors[name][place].clone() for name in ("exp_avg", "exp_avg_sq", "step")}
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})

    def figures(self) -> dict[str, float]:
        """Means over the species, and the share that is recognised as often as was asked for."""
        count, stop = len(self.standing), self.lesson.cfg["stop"]
        return {
            "species": count,
            "updates": sum(standing.updates for standing in self.standing) / count,
            "top1": sum(standing.top1 for standing in self.standing) / count,
            "recognised": sum(standing.top1 > stop for standing in self.standing) / count,
        }
