"""Most pictures of a species, and of a species by one observer: no taxon and no person may be the collection."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

from taxaforge.collection.ties import observers, occurrence
from taxaforge.seeds import seed_of


def over_caps(rows: Sequence[Mapping], cap: Mapping, seed: int) -> dict[str, str]:
    """identifier -> reason, for pictures beyond a cap.

    Counted on the accepted species, so the pictures of a synonym and of its species share one cap. The
    order in which pictures are taken is that of a hash of seed and identifier: neither the order of
    the rows nor another species changes what is taken, and where both caps hold, pictures over an
    observer's share take no place of the species.

    Args:
        rows: identifier, scientificName, and what names the observer.
        cap: images_per_species, images_per_observer; 0: no limit.
    """
    species: dict[str, list[Mapping]] = defaultdict(list)
    for row in rows:
        species[row["scientificName"]].append(row)
    most = cap["images_per_species"] or len(rows)
    share = cap["images_per_observer"] or len(rows)
    reasons = {}
    for own in species.values():
        taken: Counter[Hashable] = Counter()
        count = 0
        for row in sorted(own, key=lambda row: (seed_of(seed, "cap", row["identifier"]), row["identifier"])):
            if any(taken[one] >= share for one in shares(row)):
                reasons[row["identifier"]] = "over_observer_cap"
            elif count >= most:
                reasons[row["identifier"]] = "over_cap"
            else:
                count += 1
                taken.update(set(shares(row)))
    return reasons


def shares(row: Mapping) -> Sequence[Hashable]:
    """Whose share a picture counts on: that of every observer of it; where none is known, its occurrence's."""
    return observers(row) or occurrence(row) or [row["identifier"]]
