"""Roles of species in the zero-shot protocol, and the splits that each role may fill.

A seen species trains, is validated on and tested. An unseen one is only tested. A trial one is held back
from training, too, and plays unseen on validation images, where the calibration is chosen. In the other
protocols every species is seen.
"""

import difflib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from taxaforge.collection.deal import Group, deal
from taxaforge.collection.fill import fill
from taxaforge.errors import TaxaforgeError
from taxaforge.seeds import seed_of

MAY = {
    "seen": frozenset({"train", "validation", "test", "reserve", "unused"}),
    "trial": frozenset({"validation", "reserve", "unused"}),
    "unseen": frozenset({"test", "reserve", "unused"}),
}
"""Role -> splits that its pictures may lie in."""


class NoRoles(TaxaforgeError):
    """The species cannot be shared out to the roles of the zero-shot protocol."""


class Misplaced(TaxaforgeError):
    """A picture lies in a split that its species' role forbids."""


def roles_of(records: Sequence[Mapping], protocol: Mapping, seed: int) -> dict[str, str]:
    """species -> seen, trial or unseen, for every class.

    Drawn by the order of a hash of (seed, block), so the order of the list does not matter, and a species
    that joins it moves few others. Blocks that would overshoot the share are passed over; where that
    leaves too few species, the smallest blocks are taken whatever their size.

    Args:
        records: classes.json. protocol: section protocol.
    Raises: NoRoles for unknown names, or where fewer than two species would be seen, or none on trial.
    """
    species = [record["species"] for record in records]
    if protocol["kind"] != "zero_shot":
        return dict.fromkeys(species, "seen")
    if strange := [name for name in protocol["unseen"] if name not in species]:
        close = difflib.get_close_matches(strange[0], species, 1)
        raise NoRoles(
            f"protocol.unseen names {', '.join(map(repr, strange))}, which {'is' if len(strange) == 1 else 'are'} no "
            f"accepted species of this run{f'; did you mean {close[0]!r}?' if close else '.'} "
            "Use names as in results/taxonomy/classes.json."
        )
    rank = protocol["unseen_block"]
    unseen = set(protocol["unseen"]) or _drawn(records, rank, protocol["unseen_share"], 2, seed)
    rest = [record for record in records if record["species"] not in unseen]
    least = min(2, len(rest) - 2)
    trial = _drawn(rest, rank, protocol["trial_share"], least, seed) if least > 0 else set()
    seen = len(rest) - len(trial)
    if not trial or seen < 2:
        raise NoRoles(
            f"Of {len(species)} species {len(unseen)} are unseen, {len(trial)} on trial and {seen} seen; the zero-shot "
            "protocol needs two unseen, one on trial and two seen. Lower protocol.unseen_share or protocol.trial_share, "
            "name fewer in protocol.unseen, draw smaller blocks (protocol.unseen_block), or add species."
        )
    return {name: "unseen" if name in unseen else "trial" if name in trial else "seen" for name in species}


def _drawn(records: Sequence[Mapping], rank: str, share: float, least: int, seed: int) -> set[str]:
    """Species of whole blocks: `share` of all, as near from below as blocks allow, but no fewer than `least`."""
    blocks: dict[str, list[str]] = defaultdict(list)
    for record in records:
        blocks[record.get(rank) or record["species"]].append(record["species"])
    line = sorted(blocks, key=lambda name: (seed_of(seed, "role", name), name))
    wanted, taken = max(least, round(share * len(records))), []
    for name in line:
        if len(taken) + len(blocks[name]) <= wanted:
            taken += blocks.pop(name)
    while len(taken) < least:
        smallest = min((name for name in line if name in blocks), key=lambda name: len(blocks[name]))
        taken += blocks.pop(smallest)
    return set(taken)


def fill_by_role(
    kept: Sequence[Mapping],
    group: Mapping[str, str],
    fixed: Mapping[str, str],
    may: Mapping[str, frozenset[str]],
    split: Mapping,
    protocol: Mapping,
    seed: int,
    roles: Mapping[str, str],
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """As `fill`, in the zero-shot protocol: (identifier -> split, species -> splits that it could not fill).

    Unseen species fill test, then trial species validation, then seen species all of theirs, and the reserve
    of the held back ones comes last, so that it takes no group from what is trained on. A group that holds
    pictures of several roles stays in the split that the first of them put it into. What a unit or an earlier
    split decided against a role is unused. With `short: train` a seen species that is short trains only;
    the pictures of another one are unused.

    Raises: TooFewImages as of `fill`; two species of a role must then fill their splits.
    """
    sizes = {
        "unseen": ({"validation": 0, "reserve": 0}, {"kind": "few_shot", "shots": 0}),
        "trial": ({"test": 0, "reserve": 0}, {"kind": "few_shot", "shots": 0}),
        "seen": ({}, {"kind": protocol["seen"], "shots": protocol["shots"]}),
    }
    where: dict[str, str] = {}
    short: dict[str, list[str]] = {}
    for role, (own, support) in sizes.items():
        species = sorted(name for name, value in roles.items() if value == role)
        mine = [row for row in kept if roles[row["scientificName"]] == role]
        settled = {row["identifier"]: fixed[row["identifier"]] for row in mine if row["identifier"] in fixed}
        used = _used(where, group)
        allowed = {name: parts & (used.get(name) or parts) for name, parts in may.items()}
        placed, lacking = fill(mine, group, settled, allowed, species, {**split, **own}, support, seed)
        where |= {name: part if part in MAY[role] else "unused" for name, part in placed.items()}
        short |= lacking
    held = [row for row in kept if roles[row["scientificName"]] != "seen" and row["scientificName"] not in short]
    reserve = _reserve(held, where, group, fixed, may, split["reserve"], seed)
    where |= reserve
    counts = Counter(row["scientificName"] for row in held if where[row["identifier"]] == "reserve")
    names = {name for name, role in roles.items() if role != "seen" and name not in short}
    return where, short | {name: ["reserve"] for name in names if counts[name] < split["reserve"]}


def _used(where: Mapping[str, str], group: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """group -> splits that it has pictures in."""
    found: dict[str, set[str]] = defaultdict(set)
    for identifier, part in where.items():
        if part != "unused":
            found[group[identifier]].add(part)
    return {name: frozenset(parts) for name, parts in found.items()}


def _reserve(
    held: Sequence[Mapping],
    where: Mapping[str, str],
    group: Mapping[str, str],
    fixed: Mapping[str, str],
    may: Mapping[str, frozenset[str]],
    size: int,
    seed: int,
) -> dict[str, str]:
    """identifier -> reserve or unused, of the held back species' pictures in groups that no other split has."""
    used, wanted = _used(where, group), Counter({row["scientificName"]: size for row in held})
    free: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(held, key=lambda row: row["identifier"]):
        identifier, name = row["identifier"], row["scientificName"]
        own = group[identifier]
        if where[identifier] == "reserve":
            wanted[name] = max(0, wanted[name] - 1)
        elif identifier not in fixed and "reserve" in may[own] and used.get(own, frozenset()) <= {"reserve"}:
            free[own][name].append(identifier)
    groups = (Group(name, pictures, frozenset({"reserve"})) for name, pictures in free.items())
    return deal(groups, {"reserve": wanted}, "unused", seed)


def held_apart(pictures: Iterable[tuple[str, str, str]], roles: Mapping[str, str]) -> None:
    """Raises Misplaced where a picture lies in a split that its species' role forbids.

    Args:
        pictures: (identifier, species, split).
    """
    wrong = [(i, name, part) for i, name, part in pictures if part not in MAY[roles[name]]]
    if wrong:
        identifier, name, part = wrong[0]
        raise Misplaced(
            f"{identifier!r} shows {name}, which is {roles[name]} in this run, and lies in {part!r} "
            f"({len(wrong)} such pictures). Nothing may learn from it there: remake results/collection/splits.parquet "
            "and the packs."
        )


def tell_roles(roles: Mapping[str, str], short: Collection[str]) -> None:
    """Says which species are held back, and which of them cannot be used."""
    for role in ("unseen", "trial"):
        names = sorted(name for name, value in roles.items() if value == role)
        if names:
            print(f"{len(names)} of {len(roles)} species are {role}: {', '.join(names)}")
        if lost := [name for name in names if name in short]:
            print(f"Warning: {', '.join(lost)}: too few images for this role; they are used nowhere")
