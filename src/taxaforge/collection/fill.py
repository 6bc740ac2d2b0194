"""Filling the splits of all species, and finding those that cannot be filled."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from taxaforge.collection.deal import Group, deal
from taxaforge.collection.tail import TooFewImages, shortages, to_train, too_few
from taxaforge.collection.units import WHY

Counts = dict[str, dict[str, int]]
"""split -> species -> pictures."""


def fill(
    kept: Sequence[Mapping],
    group: Mapping[str, str],
    fixed: Mapping[str, str],
    may: Mapping[str, frozenset[str]],
    species: Sequence[str],
    split: Mapping,
    protocol: Mapping,
    seed: int,
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """(identifier -> split, species -> splits that it could not fill).

    First every species by itself: one that cannot fill its splits even then is short whatever the
    others do. Without those, all are dealt together. Where shared groups still leave species short, the
    half of them with the fewest pictures goes to the tail and the rest are dealt again, since the tail
    no longer limits what fits where. In the end the tail's pictures join those of their groups that train.

    Args:
        kept: the pictures. group: identifier -> name.
        fixed: identifier -> split, where the unit decides it.
        may: group -> splits that its other pictures may enter.
        species: all of them, sorted.
        split, protocol, seed: as of `split`.
    Raises: TooFewImages, for any short species with `short: stop`, where fewer than two are not with `train`.
    """
    named = {row["identifier"]: row["scientificName"] for row in kept}
    images = Counter(named.values())
    needed, wanted = _sizes(named, fixed, species, split, protocol)
    rest = "unused" if protocol["kind"] == "few_shot" else "train"
    pictures: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    decided: dict[str, dict[str, str]] = defaultdict(dict)
    for identifier in sorted(named):
        name = named[identifier]
        if identifier in fixed:
            decided[name][identifier] = fixed[identifier]
        else:
            pictures[name][group[identifier]].append(identifier)

    def dealt(names: Iterable[str]) -> dict[str, str]:
        together: dict[str, dict[str, list[str]]] = defaultdict(dict)
        where: dict[str, str] = {}
        for name in names:
            where |= decided[name]
            for one, own in pictures[name].items():
                together[one][name] = own
        return where | deal((Group(one, own, may[one]) for one, own in together.items()), wanted, rest, seed)

    def short(where: Mapping[str, str], names: Sequence[str]) -> dict[str, list[str]]:
        lacking = shortages(where, named, needed, names)
        return {name: parts for name, parts in lacking.items() if parts != ["reserve"]}

    def refusal(names: Mapping[str, list[str]], where: Mapping[str, str]) -> TooFewImages:
        barred = sum("test" not in may[group[i]] and fixed.get(i) != "test" for i in named)
        reason = f"{barred} of {len(named)} images have {WHY[split['unit']]}" if barred else ""
        return too_few(names, where, named, group, split, protocol, len(species), reason)

    where = {identifier: part for name in species for identifier, part in dealt([name]).items()}
    tail = short(where, species)
    if tail and (split["short"] == "stop" or len(species) - len(tail) < 2):
        raise refusal(tail, where)
    while True:
        others = [name for name in species if name not in tail]
        together = dealt(others)
        found = short(together, others)
        if not found:
            placed = to_train(together, named, group, fixed, may, tail)
            return together | placed, shortages(together, named, needed, others) | tail
        where |= together
        fewest = sorted(found, key=lambda name: (images[name], name))[: (len(found) + 1) // 2]
        if split["short"] == "stop" or len(others) - len(fewest) < 2:
            raise refusal(tail | found, where)
        tail |= {name: found[name] for name in fewest}


def _sizes(
    named: Mapping[str, str], fixed: Mapping[str, str], species: Sequence[str], split: Mapping, protocol: Mapping
) -> tuple[Counts, Counts]:
    """(pictures that a species needs, pictures to deal to it).

    They differ by the pictures whose place is decided already; where a split is the dataset's own, one
    picture is enough, and none is dealt.
    """
    counts = {"test": split["test"], "validation": split["validation"]}
    if protocol["kind"] == "few_shot":
        counts["train"] = protocol["shots"]
    counts["reserve"] = split["reserve"]
    wanted = {part: dict.fromkeys(species, count) for part, count in counts.items()}
    needed = {part: dict(count) for part, count in wanted.items()} | {
        "train": dict.fromkeys(species, counts.get("train", 1))
    }
    for identifier, part in fixed.items():
        if part in wanted:
            wanted[part][named[identifier]] = max(0, wanted[part][named[identifier]] - 1)
    if split["unit"] == "official":
        wanted["test"], needed["test"] = dict.fromkeys(species, 0), dict.fromkeys(species, 1)
        for name in {named[identifier] for identifier, part in fixed.items() if part == "validation"}:
            wanted["validation"][name], needed["validation"][name] = 0, 1
    return needed, wanted
