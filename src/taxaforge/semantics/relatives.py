"""Which classes of a run are nearest to a class in its taxonomy."""

from collections.abc import Sequence

from taxaforge.semantics.captions import RANKS


def siblings(classes: Sequence[dict], label: int) -> list[int]:
    """The other classes of the lowest group above the species that has any: of its genus, else of its family and so on.

    Args:
        classes: records of classes.json; a missing rank groups nothing. label: a place in `classes`.
    Returns: places in `classes`, ascending; all others where no group unites them, none for a class alone.

    >>> siblings([{"genus": "Parus"}, {"genus": "Sitta"}, {"genus": "Parus"}], 0)
    [2]
    """
    for rank in reversed(RANKS[: RANKS.index("species")]):
        group = classes[label].get(rank)
        found = [i for i, record in enumerate(classes) if i != label and group and record.get(rank) == group]
        if found:
            return found
    return [i for i in range(len(classes)) if i != label]
