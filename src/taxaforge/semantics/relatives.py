"""Which classes of a run are nearest to a class in its taxonomy."""

from collections.abc import Mapping, Sequence

from taxaforge.semantics.captions import RANKS


def siblings(classes: Sequence[Mapping], label: int) -> list[int]:
    """The other classes of the lowest group above the species that has any: of its genus, else of its family and so on.

    Args:
        classes: records of classes.json; a missing rank groups nothing. label: a place in `classes`.
    Returns: places in `classes`, ascending; all others where no group unites them, none for a class alone.

    >>> siblings([{"genus": "Parus"}, {"genus": "Sitta"}, {"genus": "Parus"}], 0)
    [2]
    """
    others = [place for place in range(len(classes)) if place != label]
    for rank in reversed(RANKS[: RANKS.index("species")]):
        found = [place for place in others if _related(classes[label], classes[place], rank)]
        if found:
            return found
    return others


def _related(one: Mapping, other: Mapping, rank: str) -> bool:
    """Same name on `rank`, and no coarser rank on which both have different names: a genus may exist twice."""
    coarser = RANKS[: RANKS.index(rank)]
    named = [name for name in coarser if one.get(name) and other.get(name)]
    return bool(one.get(rank)) and one[rank] == other.get(rank) and all(one[name] == other[name] for name in named)
