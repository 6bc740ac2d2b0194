"""Which picture may be used for what: whole observations, dealt by keyed hash, with a leakage table.

Assignment has no random state. The order of a species' components is that of a hash of (seed, smallest
member), so the order of the table does not matter and adding a species changes no other.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from taxaforge import tables
from taxaforge.collection.duplicates import Sets
from taxaforge.collection.schema import LEAKAGE, METADATA, SPLIT_NAMES, SPLITS
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json
from taxaforge.seeds import seed_of

USED = SPLIT_NAMES[:-1]


class TooFewImages(TaxaforgeError):
    """Species without enough pictures for the protocol."""


class Leakage(TaxaforgeError):
    """Pictures that belong together lie in two splits."""


def observation(row: Mapping) -> Hashable | None:
    """What pictures of one observation share: species, observer and day. None for an unknown observer.

    Pictures of one observer without any date are taken for one observation, the safe reading.
    """
    observer = " ".join((row["recordedBy"] or "").casefold().split())
    if not observer:
        return None
    return row["scientificName"], observer, (row["eventDate"] or "").strip()[:10]


EDGES: dict[str, Callable[[Mapping], Hashable | None]] = {
    "observation": observation,
    "duplicate_set": lambda row: row["qc_duplicate_set"],
    "same_file": lambda row: row["sha256"],
}
"""What ties two pictures together: rows of equal key, None ties nothing."""


def split(
    *,
    metadata: str | Path,
    classes: str | Path,
    split: Mapping,
    protocol: Mapping,
    seed: int,
    out_splits: str | Path,
    out_leakage: str | Path,
    log: Callable = lambda step, values: None,
) -> None:
    """Deals every picture to test, validation, train or reserve; what is left over is `unused`.

    Args:
        metadata: metadata.parquet.
        classes: classes.json; each of its species must get its share.
        split: section split: unit, validation, test, reserve (pictures a species).
        protocol: section protocol: kind, shots.
        seed: of the run.
        out_splits: schema SPLITS.
        out_leakage: schema LEAKAGE, all ties 0 (for unit `image` it only reports).
        log: receives images_<split> and the size of the largest component.
    Raises: TooFewImages naming every species that cannot have its share; Leakage.
    """
    species = [record["species"] for record in read_json(classes)]
    rows = [row for row in tables.read(METADATA, metadata) if row["scientificName"] in set(species)]
    group = groups(rows, split["unit"])
    dealt = {
        name: deal([row["identifier"] for row in rows if row["scientificName"] == name], group, split, protocol, seed)
        for name in species
    }
    _check_counts(dealt, group, split, protocol)
    where = {identifier: part for one in dealt.values() for identifier, part in one.items()}
    table = [
        {
            "identifier": row["identifier"],
            "split": where[row["identifier"]],
            "group": group[row["identifier"]],
            "scientificName": row["scientificName"],
        }
        for row in sorted(rows, key=lambda row: (row["scientificName"], row["identifier"]))
    ]
    leaks = leakage(rows, where)
    tables.write(LEAKAGE, leaks, out_leakage)
    if split["unit"] == "group" and any(row["ties"] for row in leaks):
        worst = max(leaks, key=lambda row: row["ties"])
        raise Leakage(
            f"{worst['ties']} {worst['edge']} ties cross from {worst['split_a']} to {worst['split_b']}; the table is "
            f"{Path(out_leakage).name}. This is a defect of the split, not of your data: please report it."
        )
    tables.write(SPLITS, table, out_splits)
    sizes = {f"images_{part}": sum(row["split"] == part for row in table) for part in SPLIT_NAMES}
    log(None, sizes | {"largest_group": max(_sizes(group.values()).values(), default=0)})


def groups(rows: Sequence[Mapping], unit: str) -> dict[str, str]:
    """identifier -> name of its component. Components are joined by every edge; for unit `image` by none."""
    sets = Sets(row["identifier"] for row in rows)
    if unit == "group":
        for key in EDGES.values():
            sets.join_equal((row["identifier"], key(row)) for row in rows)
    group = {row["identifier"]: sets.find(row["identifier"]) for row in rows}
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        names[group[row["identifier"]]].add(row["scientificName"])
    mixed = {name: sorted(species) for name, species in names.items() if len(species) > 1}
    if mixed:
        name, both = min(mixed.items())
        raise TaxaforgeError(
            f"Images tied to {name!r} carry {len(both)} species ({', '.join(both)}). Curation drops such sets; run the "
            "rule that curates again."
        )
    return group


def deal(
    identifiers: Sequence[str], group: Mapping[str, str], split: Mapping, protocol: Mapping, seed: int
) -> dict[str, str]:
    """identifier -> split, of the pictures of one species.

    Test is filled first, then validation, then train (`few_shot`) and reserve; for protocol `full`
    train takes what the others leave. A split is filled with whole components that fit; for its last
    places it may take a part of the smallest component that is large enough, whose rest then is
    `unused`. So shots mean shots, and no component lies in two splits.
    """
    components: dict[str, list[str]] = defaultdict(list)
    for identifier in identifiers:
        components[group[identifier]].append(identifier)
    waiting = [
        sorted(components[name]) for name in sorted(components, key=lambda name: (seed_of(seed, "split", name), name))
    ]
    wanted = {"test": split["test"], "validation": split["validation"]}
    if protocol["kind"] == "few_shot":
        wanted["train"] = protocol["shots"]
    wanted["reserve"] = split["reserve"]
    where: dict[str, str] = {}
    for part, count in wanted.items():
        later = []
        for component in waiting:
            if len(component) <= count:
                where |= dict.fromkeys(component, part)
                count -= len(component)
            else:
                later.append(component)
        if count and later:
            broken = min(later, key=len)
            later.remove(broken)
            where |= dict.fromkeys(broken[:count], part) | dict.fromkeys(broken[count:], "unused")
        waiting = later
    rest = "train" if protocol["kind"] == "full" else "unused"
    return where | {identifier: rest for component in waiting for identifier in component}


def leakage(rows: Sequence[Mapping], where: Mapping[str, str]) -> list[dict]:
    """For every kind of tie and every two splits: how many ties have pictures in both.

    Counted from the table itself, not from the components that the assignment used.
    """
    table = []
    for edge, key in EDGES.items():
        parts: dict[Hashable, set[str]] = defaultdict(set)
        for row in rows:
            if key(row) is not None:
                parts[key(row)].add(where[row["identifier"]])
        for a, b in combinations(USED, 2):
            ties = sum(a in both and b in both for both in parts.values())
            table.append({"edge": edge, "split_a": a, "split_b": b, "ties": ties})
    return table


def _sizes(names) -> dict[str, int]:
    sizes: dict[str, int] = defaultdict(int)
    for name in names:
        sizes[name] += 1
    return sizes


def _check_counts(
    dealt: Mapping[str, Mapping[str, str]], group: Mapping[str, str], split: Mapping, protocol: Mapping
) -> None:
    """Raises TooFewImages for all species at once; says what the reserve lacks."""
    few_shot = protocol["kind"] == "few_shot"
    needed = {"test": split["test"], "validation": split["validation"], "train": protocol["shots"] if few_shot else 1}
    short = {
        name: {part: sum(value == part for value in one.values()) for part in USED} | {"all": len(one)}
        for name, one in dealt.items()
        if any(sum(value == part for value in one.values()) < count for part, count in needed.items())
    }
    if short:
        listed = "; ".join(
            f"{name} has {counts['all']} in {len({group[i] for i in dealt[name]})} groups "
            f"(test {counts['test']}, validation {counts['validation']}, train {counts['train']})"
            for name, counts in short.items()
        )
        held = min(counts["train"] for counts in short.values())
        asked = f"protocol.shots ({protocol['shots']})" if few_shot else "1 training image"
        remedies = [f"lower protocol.shots to {held}"] if few_shot and held else []
        remedies += ["lower split.test or split.validation", "add images", "take the species off the taxa list"]
        raise TooFewImages(
            f"{len(short)} of {len(dealt)} species have too few usable images for split.test ({split['test']}) + "
            f"split.validation ({split['validation']}) + {asked}: {listed}. Either {', or '.join(remedies)}; "
            "results/collection/rejections.csv says why images were dropped."
        )
    lacking = {
        name: count
        for name, one in dealt.items()
        if (count := sum(value == "reserve" for value in one.values())) < split["reserve"]
    }
    if lacking:
        least = min(lacking, key=lacking.get)
        print(
            f"{len(lacking)} of {len(dealt)} species have fewer than split.reserve ({split['reserve']}) images in "
            f"reserve; least: {least} with {lacking[least]}"
        )
