"""Which picture may be used for what: groups of related pictures, dealt whole, with a table of what crosses.

What is stable: the order of the tables changes nothing, and a species changes no other one unless a chain
of groups connects them. For units `observer` and `spatial` groups hold several species; for the others only
where copies of one picture, or records of one occurrence, carry two names. New pictures of a species can
move its own: a tenth more, in groups of three, left 91 % of its test pictures there (mean of 200 species; least 60 %).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from taxaforge import tables
from taxaforge.collection.fill import fill
from taxaforge.collection.places import days
from taxaforge.collection.roles import fill_by_role, held_apart, roles_of, tell_roles
from taxaforge.collection.schema import DUPLICATES, LEAKAGE, METADATA, SPLIT_NAMES, SPLITS, TAIL
from taxaforge.collection.support import support
from taxaforge.collection.tail import tail_rows
from taxaforge.collection.ties import FORBIDDEN, groups, kinds_of_tie, leakage
from taxaforge.collection.units import Rule, continued, rule_of
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json, write_json
from taxaforge.tables import Schema

GIANT = 0.1
"""Share of all pictures from which on a group is worth a warning."""


class Leakage(TaxaforgeError):
    """Pictures that belong together lie in two splits."""


def split(
    *,
    metadata: str | Path,
    duplicates: str | Path,
    classes: str | Path,
    split: Mapping,
    protocol: Mapping,
    seed: int,
    out_splits: str | Path,
    out_leakage: str | Path,
    out_tail: str | Path,
    out_roles: str | Path | None = None,
    previous: str | Path | None = None,
    log: Callable = lambda step, values: None,
) -> None:
    """Deals every picture to test, validation, train or reserve; what is left over is `unused`.

    Test is filled first, then validation, then train (`few_shot`) and reserve; for protocols `full` and `long_tail` train
    takes what the others leave, and a long tail is then cut from it. Another `draw` changes train alone. For unit `official` the dataset's own test and validation pictures are
    those splits, whatever their number. For protocol `zero_shot` see `roles`: what a species fills is its role's.

    Args:
        metadata: metadata.parquet.
        duplicates: duplicates.parquet; through its dropped members kept pictures have the ties of their copies.
        classes: classes.json; each of its species must get its share, or go to the tail. Its ranks are the blocks that
            unseen species are drawn in.
        split: section split: unit, cut, block_km, short; validation, test, reserve (pictures a species).
        protocol: section protocol: kind, shots, draw; for `long_tail` imbalance, order, head; for `zero_shot` the rest.
        seed: of the run.
        out_splits: schema SPLITS.
        out_leakage: schema LEAKAGE; where the unit forbids a tie, it is 0.
        out_tail: schema TAIL, every species.
        out_roles: JSON, species -> seen, trial or unseen; all seen unless the protocol is `zero_shot`.
        previous: an earlier splits.parquet or published metadata.csv; its pictures stay where they were.
        log: receives images_<split>, the size and share of the largest group, species_in_tail.
    Raises: TooFewImages naming every species that cannot have its share (with `short: train` only where fewer
        than two species have it); units.NoOfficialSplit; Leakage; roles.NoRoles; roles.Misplaced.
    """
    records = read_json(classes)
    species = sorted({record["species"] for record in records})
    roles = roles_of(records, protocol, seed)
    asked = set(species)
    everything = tables.read(METADATA, metadata)
    here = {row["identifier"] for row in everything}
    kept = [row for row in everything if row["scientificName"] in asked]
    dropped = [row for row in tables.read(DUPLICATES, duplicates) if row["identifier"] not in here]

    _tell_dates(kept)
    kinds, forbidden = kinds_of_tie(split["block_km"]), FORBIDDEN[split["unit"]]
    group = groups(kept, dropped, [kinds[kind] for kind in forbidden])
    rule = rule_of(split, kept)
    if previous:
        rule = continued(read_earlier(previous), rule)
    fixed, may = _decide(kept, dropped, group, rule)
    if protocol["kind"] == "zero_shot":
        where, short = fill_by_role(kept, group, fixed, may, split, protocol, seed, roles)
    else:
        where, short = fill(kept, group, fixed, may, species, split, protocol, seed)
    learnt = sorted(name for name, role in roles.items() if role == "seen")
    where, asked = support(kept, learnt, group, fixed, may, where, protocol, seed)
    held_apart(((row["identifier"], row["scientificName"], where[row["identifier"]]) for row in kept), roles)

    leaks = leakage(kept, dropped, where, kinds, forbidden)
    tables.write(LEAKAGE, leaks, out_leakage)
    crossing = [row for row in leaks if row["forbidden"] and row["ties"]]
    if crossing:
        worst = max(crossing, key=lambda row: row["ties"])
        raise Leakage(
            f"{worst['ties']} {worst['edge']} ties cross from {worst['split_a']} to {worst['split_b']}; the table is "
            f"{Path(out_leakage).name}. This is a defect of the split, not of your data: please report it."
        )
    table = [
        {
            "identifier": row["identifier"],
            "split": where[row["identifier"]],
            "group": group[row["identifier"]],
            "scientificName": row["scientificName"],
        }
        for row in sorted(kept, key=lambda row: (row["scientificName"], row["identifier"]))
    ]
    tables.write(SPLITS, table, out_splits)
    tail = tail_rows(table, species, short)
    tables.write(TAIL, tail_rows(table, species, _with_support(short, asked)), out_tail)
    if out_roles is not None:
        write_json(out_roles, roles)

    tell_roles(roles, {name for name, parts in short.items() if parts != ["reserve"]})
    in_tail = _tell([row for row in tail if row["short"] == "reserve" or roles[row["scientificName"]] == "seen"], split)
    _tell_support(asked, tail)
    name, size = max(Counter(row["group"] for row in table).items(), key=lambda item: item[1], default=("", 0))
    share = size / max(len(table), 1)
    if share > GIANT:
        _warn(name, share, table)
    counts = {f"images_{part}": sum(row["split"] == part for row in table) for part in SPLIT_NAMES}
    counts |= {f"species_{role}": count for role, count in Counter(roles.values()).items() if role != "seen"}
    log(None, counts | {"largest_group": size, "largest_group_share": share, "species_in_tail": in_tail})


def read_earlier(path: str | Path) -> dict[str, str]:
    """identifier -> split, of an earlier run's splits.parquet or of its published table. Raises: TaxaforgeError."""
    schema = Schema("previous", ("identifier",), {name: SPLITS.columns[name] for name in ("identifier", "split")})
    found = {row["identifier"]: row["split"] for row in tables.read(schema, path)}
    if strange := sorted(set(found.values()) - set(SPLIT_NAMES)):
        raise TaxaforgeError(
            f"split.previous {str(path)!r} has {', '.join(map(repr, strange))} for a split. Name a splits.parquet or metadata.csv of a run."
        )
    return found


def _decide(
    kept: Sequence[Mapping], dropped: Sequence[Mapping], group: Mapping[str, str], rule: Rule
) -> tuple[dict[str, str], dict[str, frozenset[str]]]:
    """(identifier -> split where the unit decides it, group -> splits that its other pictures may enter)."""
    members: dict[str, tuple[list, list]] = defaultdict(lambda: ([], []))
    for which, rows in enumerate((kept, dropped)):
        for row in rows:
            if row["identifier"] in group:
                members[group[row["identifier"]]][which].append(row)
    fixed, may = {}, {}
    for name, (own, copies) in members.items():
        decided, may[name] = rule(own, copies)
        fixed |= decided
    return fixed, may


def _tell_dates(kept: Sequence[Mapping]) -> None:
    """Says which dates are taken for none: an observer's pictures of a species are then one event, whenever they were."""
    strange = sorted(
        {row["eventDate"] for row in kept if (row["eventDate"] or "").strip() and not days(row["eventDate"])}
    )
    if strange:
        count = sum(row["eventDate"] in set(strange) for row in kept)
        print(
            f"{count} of {len(kept)} images {'has' if count == 1 else 'have'} an eventDate that is no ISO 8601 date "
            f"({strange[0]!r}): counted as undated. Such as 2024-05-31 or 2024-05-30/2024-06-02 can be read."
        )


def _tell(tail: Sequence[Mapping], split: Mapping) -> int:
    """Says what goes short; how many species train only."""
    trained = [row for row in tail if set(row["short"].split()) - {"reserve"}]
    if trained:
        lost = sum(row["unused"] for row in trained)
        print(
            f"{len(trained)} of {len(tail)} species cannot fill their splits and train only; tail.csv lists them. "
            f"{lost} of their images are unused: tied to other species' images elsewhere, or of another time or split."
        )
    lacking = {row["scientificName"]: row["reserve"] for row in tail if row["short"] == "reserve"}
    if lacking:
        least = min(lacking, key=lacking.get)
        print(
            f"{len(lacking)} of {len(tail)} species have fewer than split.reserve ({split['reserve']}) images in "
            f"reserve; least: {least} with {lacking[least]}"
        )
    return len(trained)


def _with_support(short: Mapping[str, Sequence[str]], asked: Mapping[str, int]) -> dict[str, list[str]]:
    """species -> splits that it could not fill, those counted in that have fewer training images than the protocol asks for."""
    found = {name: {*short.get(name, ()), "train"} for name in asked}
    return {**short, **{name: [part for part in SPLIT_NAMES if part in parts] for name, parts in found.items()}}


def _tell_support(asked: Mapping[str, int], tail: Sequence[Mapping]) -> None:
    """Says which species train on fewer images than the long tail asks of them: they are not repeated to make up for it."""
    poor = [row for row in tail if row["scientificName"] in asked]
    if poor:
        listed = ", ".join(f"{row['scientificName']} {row['train']} of {asked[row['scientificName']]}" for row in poor)
        print(f"{len(poor)} of {len(tail)} species have fewer training images than their place asks for: {listed}")


def _warn(name: str, share: float, table: Sequence[Mapping]) -> None:
    """Says where a giant went: many chained pictures make one group, which then is lost to the other splits."""
    own = [row for row in table if row["group"] == name]
    parts = ", ".join(f"{part} {n}" for part, n in sorted(Counter(row["split"] for row in own).items()))
    print(
        f"Warning: one group holds {len(own)} of {len(table)} images ({share:.0%}) of "
        f"{len({row['scientificName'] for row in own})} species, tied to {name!r} ({parts}). A group cannot be "
        "divided between splits. Is one observer, block or duplicate set so large, or does a column hold a placeholder?"
    )
