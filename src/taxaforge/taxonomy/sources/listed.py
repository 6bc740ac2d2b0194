"""Source `list`: nobody is asked. The list's own columns are the lineage, the name itself is the genus where they are silent.

For drawn specimens of any names, real or invented: a spelling, a synonym or a homonym is not noticed.
"""

from collections.abc import Mapping

from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.hints import tidy
from taxaforge.taxonomy.names import Name

CHECKLIST = "list"


def ask(name: Name, hints: Mapping[str, str]) -> Answer:
    """The name as its own accepted species in the lineage that the row gives; a subspecies means its species."""
    words = name.canonical.split()
    lineage = tidy(hints) | {"genus": words[0]}
    if len(words) == 1:
        return Answer(Usage(f"{CHECKLIST}:{words[0]}", words[0], "", "genus", "ACCEPTED", lineage))
    species = " ".join(words[:2])
    key = f"{CHECKLIST}:{species}"
    return Answer(Usage(key, species, "", "species", "ACCEPTED", lineage | {"species": species}, key))


def lineage_source(usage: Usage) -> str:
    """`list` where the list placed the species above its genus, else `name_only`."""
    return CHECKLIST if len(usage.lineage) > 2 else "name_only"
