"""What a class is called in a sentence: the text side of image-text training and of scores."""

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
NAMED = ("genus", "family", "order", "class")
"""Ranks that a caption names after its subject. Fine to coarse: where the text tower cuts a long caption, the
species' own name stays."""


def caption(record: dict, level: str = "species") -> str:
    """The taxonomic caption of a class as a member of its group on `level`.

    Args:
        record: one entry of classes.json; missing ranks are left out.
        level: a rank; finer ranks are not named.
    Raises: ValueError where the class has no name on that level.

    >>> caption({"species": "Danaus plexippus", "genus": "Danaus", "family": "Nymphalidae", "order": "Lepidoptera"})
    'a photo of Danaus plexippus, genus Danaus, family Nymphalidae, order Lepidoptera'
    """
    if not record.get(level):
        raise ValueError(f"{record.get('species')!r} has no {level}")
    subject = record[level] if level == "species" else f"the {level} {record[level]}"
    coarser = [rank for rank in NAMED if RANKS.index(rank) < RANKS.index(level) and record.get(rank)]
    return ", ".join([f"a photo of {subject}", *(f"{rank} {record[rank]}" for rank in coarser)])


def level_string(record: dict, level: str) -> str | None:
    """`"<level>: <name>"`, the form in which the generator reads a lineage; None where there is no name."""
    return f"{level}: {record[level]}" if record.get(level) else None
