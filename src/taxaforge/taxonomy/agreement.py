"""What a second checklist says of the same name: whether it means the same species, and the ranks it can lend."""

from collections.abc import Mapping

from taxaforge.taxonomy.answers import Usage
from taxaforge.taxonomy.hints import conflict, tidy
from taxaforge.taxonomy.names import fold
from taxaforge.taxonomy.schema import RANKS


def compare(ours: Usage | None, theirs: Usage | None) -> str:
    """agree, differ, only_one, neither. A usage is given where the checklist settles on one species."""
    if ours is None or theirs is None:
        return "neither" if ours is theirs else "only_one"
    return "agree" if fold(ours.lineage["species"]) == fold(theirs.lineage["species"]) else "differ"


def filled(ours: Usage, theirs: Usage, hints: Mapping[str, str], checklist: str) -> tuple[dict[str, str], str]:
    """Our lineage with the ranks it lacks taken from the other checklist, and a mark of these: `rank=checklist; ...`.

    Nothing is taken where the two give one rank two names, where a given classification contradicts
    the other checklist, or where the name would stand in the lineage twice (Squamata is a class in
    one checklist and an order in the other).
    """
    lineage = dict(ours.lineage)
    shared = [rank for rank in RANKS if rank in lineage and rank in theirs.lineage]
    if conflict(tidy(hints), theirs) or any(fold(lineage[rank]) != fold(theirs.lineage[rank]) for rank in shared):
        return lineage, ""
    taken = []
    for rank in RANKS:
        if rank in theirs.lineage and rank not in lineage and theirs.lineage[rank] not in lineage.values():
            lineage[rank] = theirs.lineage[rank]
            taken.append(f"{rank}={checklist}")
    return {rank: lineage[rank] for rank in RANKS if rank in lineage}, "; ".join(taken)
