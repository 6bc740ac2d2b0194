"""Dealing groups of pictures to splits: whole, by keyed hash, in exact numbers.

There is no random state. Groups come in the order of a hash of (seed, name), so the order of the table
does not matter, and what a species gets depends on no species that it shares no chain of groups with.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from taxaforge.seeds import seed_of


@dataclass(frozen=True)
class Group:
    """Pictures that must stay together. pictures: species -> sorted identifiers. may: splits that it may enter."""

    name: str
    pictures: Mapping[str, list[str]]
    may: frozenset[str]


def deal(groups: Iterable[Group], wanted: Mapping[str, Mapping[str, int]], rest: str, seed: int) -> dict[str, str]:
    """identifier -> split.

    The splits are filled one after the other. A split first takes, in hash order, every group that
    fits: no species in it has more pictures than the split still wants. Its last places are filled by
    breaking groups: the one next that leaves the fewest pictures over for each that it gives, and what
    it leaves over is `unused`. So shots mean shots, and no group lies in two splits.

    Args:
        groups: each picture in one of them.
        wanted: split -> species -> pictures, in the order of filling.
        rest: split of the groups that are left over and may enter it; the others are `unused`.
    """
    waiting = sorted(groups, key=lambda group: (seed_of(seed, "split", group.name), group.name))
    where: dict[str, str] = {}
    for part, counts in wanted.items():
        need, later = dict(counts), []
        for group in waiting:
            if part in group.may and all(len(own) <= need.get(name, 0) for name, own in group.pictures.items()):
                for name, own in group.pictures.items():
                    where |= dict.fromkeys(own, part)
                    need[name] -= len(own)
            else:
                later.append(group)
        broken = _break(later, part, need, where)
        waiting = [group for group in later if group.name not in broken]
    for group in waiting:
        for own in group.pictures.values():
            where.update(dict.fromkeys(own, rest if rest in group.may else "unused"))
    return where


def _break(groups: list[Group], part: str, need: dict[str, int], where: dict[str, str]) -> set[str]:
    """Fills the last places of a split with parts of groups; the names of those. Changes `need` and `where`.

    What a group can give only shrinks while others are broken, so a group whose price still stands
    when it comes up is the cheapest of all, and only those that come up are priced again.
    """

    def price(order: int) -> tuple[float, int, int] | None:
        sizes = {name: len(own) for name, own in groups[order].pictures.items()}
        gain = sum(min(size, need.get(name, 0)) for name, size in sizes.items())
        waste = sum(sizes.values()) - gain
        return (waste / gain, waste, order) if gain else None

    offers = [offer for i, group in enumerate(groups) if part in group.may and (offer := price(i))]
    heapq.heapify(offers)
    broken = set()
    while offers:
        offer = heapq.heappop(offers)
        now = price(offer[2])
        if now is None:
            continue
        if now != offer:
            heapq.heappush(offers, now)
            continue
        group = groups[offer[2]]
        broken.add(group.name)
        for name, own in group.pictures.items():
            count = min(len(own), need.get(name, 0))
            where |= dict.fromkeys(own[:count], part) | dict.fromkeys(own[count:], "unused")
            if count:
                need[name] -= count
    return broken
