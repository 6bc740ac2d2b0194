"""Who gets how many images: one budget, dealt out before anything is drawn.

The total is `images_per_species` times the species that take part, whatever the rule, so that rules are compared
at equal cost.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json, write_json
from taxaforge.guidance.allocation_schema import ALLOCATION
from taxaforge.packs import Pack

RULES = ("equal", "rare", "confused")
ROUNDING = 1e-9
"""Images; keeps a share that is a whole number from losing one to the last bit."""


class NoBudget(TaxaforgeError):
    """The images cannot be dealt out as asked."""


def allocate(
    *,
    train: str | Path,
    classes: str | Path,
    cfg: dict,
    out: str | Path,
    validation: str | Path | None = None,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Writes table ALLOCATION to `out`, and beside it a .json, `{species: images}`, for jobs that read no tables.

    Args:
        train: pack of the training images. classes: classes.json.
        cfg: `images_per_species`, and `allocation`: {`by`: equal, rare or confused; `power`: 0 is equal, higher
            is steeper; `least`: images that each species taking part gets at any rate; `only`: all species or
            those without_images for training}.
        validation: of the guiding classifier, {"species": {name: {"images", "wrong"}}}; by `confused` alone.
        log: told the total, and the least and the most that a species gets.
    Raises: NoBudget.
    """
    rule, data = cfg["allocation"], Pack.load(train)
    species = [record["species"] for record in read_json(classes)]
    if rule["by"] not in RULES:
        raise NoBudget(f"guidance.allocation.by {rule['by']!r} is no rule. Choose from {', '.join(RULES)}.")
    counted = Counter(data.classes[label] for label in data.label)
    confusion = dict.fromkeys(species) if validation is None else confusions(species, read_json(validation)["species"])
    if rule["by"] == "confused" and validation is None:
        raise NoBudget(
            "guidance.allocation.by is confused, but there is no guiding classifier to say who is confused. "
            "Give its validation.json, or choose rare or equal."
        )
    rough = {
        "equal": lambda name: 1.0,
        "rare": lambda name: 1 / max(1, counted[name]),
        "confused": lambda name: confusion[name],
    }[rule["by"]]
    chosen = [name for name in species if rule["only"] == "all" or not counted[name]]
    if not chosen:
        raise NoBudget(
            f"guidance.allocation.only is {rule['only']}, but each of the {len(species)} species has training images. "
            "Set it to all, or leave species out of training (zero-shot)."
        )
    weight = dict.fromkeys(species, 0.0) | {name: rough(name) ** rule["power"] for name in chosen}
    total = cfg["images_per_species"] * len(chosen)
    dealt = dict.fromkeys(species, 0)
    dealt |= zip(chosen, deal([weight[name] for name in chosen], total, rule["least"]), strict=True)
    rows = [
        {
            "species": name,
            "train_images": counted[name],
            "confusion": confusion[name],
            "weight": weight[name],
            "images": dealt[name],
        }
        for name in species
    ]
    tables.write(ALLOCATION, rows, out)
    write_json(Path(out).with_suffix(".json"), dealt)
    of_chosen = [dealt[name] for name in chosen]
    log(None, {"images": total, "species": len(chosen), "fewest": min(of_chosen), "most": max(of_chosen)})


def confusions(species: Sequence[str], validated: dict[str, dict]) -> dict[str, float]:
    """Share of mistaken images by species, in (0, 1).

    (wrong + 1) / (images + 2), the rule of succession: few images pull the share towards a half, and a species that
    validation has never seen is at a half.
    """
    counts = {name: validated.get(name, {"images": 0, "wrong": 0}) for name in species}
    return {name: (found["wrong"] + 1) / (found["images"] + 2) for name, found in counts.items()}


def deal(weights: Sequence[float], total: int, least: int = 0) -> list[int]:
    """Whole numbers in proportion to `weights`, none under `least`, with the sum `total`.

    Whoever would get less than `least` gets that, and the others share the rest in proportion; rounding by largest
    remainder, ties to whoever stands first.

    Raises: NoBudget where `total` does not reach, or weights are not positive numbers.

    >>> deal([1, 1, 2], 8)
    [2, 2, 4]
    >>> deal([1, 100], 10, least=3)
    [3, 7]
    """
    if least * len(weights) > total:
        raise NoBudget(
            f"guidance.allocation.least {least} for {len(weights)} species is more than the {total} images of the "
            "whole budget. Lower it, or raise guidance.images_per_species."
        )
    if not all(0 < weight < math.inf for weight in weights):
        raise NoBudget(
            "The weights of the species left the range of numbers. Lower guidance.allocation.power; 1 is proportional."
        )
    free, rest = list(range(len(weights))), total
    while True:
        whole = math.fsum(weights[place] for place in free)
        share = {place: rest * (weights[place] / whole) for place in free}
        short = [place for place in free if share[place] + ROUNDING < least]
        if not short:
            break
        free, rest = [place for place in free if place not in short], rest - least * len(short)
    dealt = [least] * len(weights)
    for place in free:
        dealt[place] = math.floor(share[place] + ROUNDING)
    left = rest - sum(dealt[place] for place in free)
    for place in sorted(free, key=lambda place: dealt[place] - share[place])[:left]:
        dealt[place] += 1
    return dealt
