"""The training support: how many images of a species are learnt from, and which of those that are free.

Test, validation and reserve are dealt before and are the same whatever happens here, image for image. So runs that
differ in the draw alone are scored on one test, and what differs between them is the support and all that was made
from it, the generator included.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from taxaforge.collection.deal import Group, deal
from taxaforge.errors import TaxaforgeError
from taxaforge.seeds import seed_of


class NoOtherSupport(TaxaforgeError):
    """A draw of the support is asked for where every free image is already in it."""


def support(
    kept: Sequence[Mapping],
    species: Iterable[str],
    group: Mapping[str, str],
    fixed: Mapping[str, str],
    may: Mapping[str, frozenset[str]],
    where: Mapping[str, str],
    protocol: Mapping,
    seed: int,
) -> tuple[dict[str, str], dict[str, int]]:
    """(identifier -> split, species -> training images asked for, where it has fewer).

    Draw 0 of any protocol but `long_tail` is what `where` says. Else the training images are dealt anew among those
    that are free: of these species, unused or in training so far, in groups that no other split has a picture of. For
    `long_tail` a species gets its place in `profile`, for another draw as many images as it had in draw 0. Whole groups go
    first, in the order of a hash of (seed, draw, group), and the last places are filled with parts of groups.

    Args:
        kept: the pictures. species: those that may be trained on.
        group: identifier -> name. fixed: identifier -> split, where the unit decides it; may: group -> splits that its
            other pictures may enter.
        where: identifier -> split, of all of `kept`, every free picture in training for `long_tail`.
        protocol: section protocol: kind, draw (0 where it is left out); for `long_tail` imbalance, order, head, shots.
        seed: of the run.
    Raises: NoOtherSupport where draw 0 already takes all that is free.
    """
    draw = protocol.get("draw", 0)
    if not draw and protocol["kind"] != "long_tail":
        return dict(where), {}
    used: dict[str, set[str]] = defaultdict(set)
    for identifier, part in where.items():
        used[group[identifier]].add(part)
    free: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    left = Counter(dict.fromkeys(species, 0))
    for row in sorted(kept, key=lambda row: row["identifier"]):
        identifier, name = row["identifier"], row["scientificName"]
        own = group[identifier]
        trains = "train" in may[own] and fixed.get(identifier, "train") == "train"
        if name in left and trains and used[own] <= {"train", "unused"}:
            free[own][name].append(identifier)
            left[name] += 1
    if protocol["kind"] == "long_tail":
        wanted = profile(left, protocol, seed)
    else:
        trained = Counter(row["scientificName"] for row in kept if where[row["identifier"]] == "train")
        wanted = {name: trained[name] for name in left}

    def dealt(own_seed: int) -> dict[str, str]:
        groups = (Group(name, pictures, frozenset({"train"})) for name, pictures in free.items())
        return {**where, **deal(groups, {"train": wanted}, "unused", own_seed)}

    found = dealt(seed_of(seed, "support", draw) if draw else seed)
    if draw:
        _tell(found, where if protocol["kind"] != "long_tail" else dealt(seed), left, wanted, draw)
    return found, {name: count for name, count in wanted.items() if left[name] < count}


def profile(left: Mapping[str, int], protocol: Mapping, seed: int) -> dict[str, int]:
    """species -> training images of an exponential long tail, n_c = n_0 * imbalance ** (-c / (C - 1)), c = 0 .. C - 1.

    Rounded to the nearest whole number, at least 1. A species may have fewer images than its place asks for.

    Args:
        left: species -> images that could be trained on.
        protocol: imbalance, n_0 / n_(C-1) before rounding; order, `natural`: most images first, or `drawn`: by a hash of
            (seed, species), whatever there is; head, n_0: `shots`, or `all` that the first species has left.

    Source: Cui et al. 2019 (arXiv:1901.05555), long-tailed CIFAR. Differs from the paper: rounded, not cut off.

    >>> cfg = {"imbalance": 25, "order": "natural", "head": "shots", "shots": 50}
    >>> profile({"A a": 60, "B b": 70, "C c": 80}, cfg, seed=0)
    {'C c': 50, 'B b': 10, 'A a': 2}
    """
    place = {name: (seed_of(seed, "tail", name), name) for name in left}
    natural = protocol["order"] == "natural"
    line = sorted(left, key=lambda name: (-left[name] if natural else 0, place[name]))
    most = left[line[0]] if protocol["head"] == "all" else protocol["shots"]
    last = max(len(line) - 1, 1)
    return {name: max(1, round(most * protocol["imbalance"] ** (-c / last))) for c, name in enumerate(line)}


def _tell(
    found: Mapping[str, str], first: Mapping[str, str], left: Mapping[str, int], wanted: Mapping[str, int], draw: int
) -> None:
    """Says how far a draw differs from draw 0. Raises: NoOtherSupport where it cannot."""
    if all(left[name] <= count for name, count in wanted.items()):
        raise NoOtherSupport(
            f"protocol.draw is {draw}, but test, validation and reserve leave {sum(left.values())} images to train on, which "
            "draw 0 takes all. Lower split.reserve or protocol.shots, in all draws alike, or add images."
        )
    here = {identifier for identifier, part in found.items() if part == "train"}
    again = sum(first[identifier] == "train" for identifier in here)
    print(
        f"Draw {draw} of the support: {len(here)} training images of {sum(left.values())} that test, validation and reserve "
        f"leave; {again} of them ({again / len(here):.0%}) are in draw 0, too."
    )
