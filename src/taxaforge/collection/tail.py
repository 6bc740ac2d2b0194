"""Species that cannot fill their splits: who they are, why, and what becomes of their pictures."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from taxaforge.collection.schema import SPLIT_NAMES
from taxaforge.collection.ties import USED
from taxaforge.errors import TaxaforgeError


class TooFewImages(TaxaforgeError):
    """Species without enough pictures for the protocol."""


def shortages(
    where: Mapping[str, str], named: Mapping[str, str], needed: Mapping[str, Mapping[str, int]], species: Sequence[str]
) -> dict[str, list[str]]:
    """species -> the splits that it could not fill, for those that lack some.

    Args:
        where: identifier -> split.
        named: identifier -> species.
        needed: split -> species -> pictures.
        species: those to judge.
    """
    counts = _counts(where, named)
    lacks = {name: [part for part in USED if counts[name][part] < needed[part][name]] for name in species}
    return {name: parts for name, parts in lacks.items() if parts}


def to_train(
    where: Mapping[str, str],
    named: Mapping[str, str],
    group: Mapping[str, str],
    fixed: Mapping[str, str],
    may: Mapping[str, frozenset[str]],
    tail: Mapping[str, object],
) -> dict[str, str]:
    """identifier -> train or unused, of the pictures of species in the tail.

    All train that may: not the pictures whose place the unit decides (an official test picture is
    never trained on), nor those tied to a picture of another species that is in another split.
    """
    used: dict[str, set[str]] = defaultdict(set)
    for identifier, part in where.items():
        used[group[identifier]].add(part)
    found = {}
    for identifier, name in named.items():
        if name in tail:
            own = group[identifier]
            free = (
                fixed.get(identifier, "train") == "train" and "train" in may[own] and used[own] <= {"train", "unused"}
            )
            found[identifier] = "train" if free else "unused"
    return found


def tail_rows(table: Sequence[Mapping], species: Sequence[str], short: Mapping[str, Sequence[str]]) -> list[dict]:
    """Rows of schema TAIL, one for every species.

    Args:
        table: rows of schema SPLITS.
        species: every one of them, in the order of the rows.
        short: species -> splits that it could not fill.
    """
    counts: dict[str, Counter] = defaultdict(Counter)
    groups: dict[str, set[str]] = defaultdict(set)
    for row in table:
        counts[row["scientificName"]][row["split"]] += 1
        groups[row["scientificName"]].add(row["group"])
    return [
        {
            "scientificName": name,
            "images": counts[name].total(),
            "groups": len(groups[name]),
            **{part: counts[name][part] for part in SPLIT_NAMES},
            "short": " ".join(short.get(name, ())),
        }
        for name in species
    ]


def too_few(
    tail: Mapping[str, Sequence[str]],
    where: Mapping[str, str],
    named: Mapping[str, str],
    group: Mapping[str, str],
    split: Mapping,
    protocol: Mapping,
    of: int,
    reason: str,
) -> TooFewImages:
    """The error for all species of the tail at once. of: species in all. reason: what the unit holds back, or ""."""
    counts, all_of = _counts(where, named), Counter(named.values())
    groups: dict[str, set[str]] = defaultdict(set)
    for identifier, name in named.items():
        groups[name].add(group[identifier])
    listed = "; ".join(
        f"{name} has {all_of[name]} in {len(groups[name])} groups "
        f"(test {counts[name]['test']}, validation {counts[name]['validation']}, train {counts[name]['train']})"
        for name in tail
    )
    few_shot = protocol["kind"] == "few_shot"
    held = min(counts[name]["train"] for name in tail)
    asked = f"protocol.shots ({protocol['shots']})" if few_shot else "1 training image"
    remedies = [f"lower protocol.shots to {held}"] if few_shot and held else []
    if not few_shot and split["reserve"] and not held:
        remedies.append(f"lower split.reserve ({split['reserve']}), which is filled before train")
    remedies += ["lower split.test or split.validation", "add images", "take the species off the taxa list"]
    if split["short"] == "stop":
        remedies.append("set split.short to 'train', which uses such species for training alone")
    tested = "a test image" if split["unit"] == "official" else f"split.test ({split['test']})"
    return TooFewImages(
        f"{len(tail)} of {of} species have too few usable images for {tested} + "
        f"split.validation ({split['validation']}) + {asked}: {listed}. "
        + (f"For split.unit '{split['unit']}', {reason}. " if reason else "")
        + ("" if split["short"] == "stop" else "At least two species must fill their splits. ")
        + f"Either {', or '.join(remedies)}; results/collection/rejections.csv says why images were dropped."
    )


def _counts(where: Mapping[str, str], named: Mapping[str, str]) -> dict[str, Counter]:
    counts: dict[str, Counter] = defaultdict(Counter)
    for identifier, part in where.items():
        counts[named[identifier]][part] += 1
    return counts
