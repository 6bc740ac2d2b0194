"""The classification that a row of the list brings along: tidied, and compared with an answer."""

import re
from collections.abc import Mapping
from functools import lru_cache

from taxaforge.taxonomy.answers import Usage
from taxaforge.taxonomy.names import fold
from taxaforge.taxonomy.schema import RANKS

KINGDOMS = {
    "animalia": "animal animals metazoa",
    "plantae": "plant plants viridiplantae archaeplastida embryophyta",
    "fungi": "fungus mycota eumycota",
    "bacteria": "bacterium eubacteria monera bacillati pseudomonadati fusobacteriati thermotogati",
    "archaea": "archaebacteria archaeon methanobacteriati nanobdellati promethearchaeati thermoproteati",
    "protozoa": "protist protists protista",
    "chromista": "chromist chromists stramenopila stramenopiles",
    "viruses": "virus viridae",
}
"""One kingdom, many words: what lists and checklists write for it (the Catalogue of Life divides the bacteria since 2025)."""

PHYLA = {
    "tracheophyta": "streptophyta embryophyta spermatophyta spermatophytina magnoliophyta anthophyta angiospermae angiosperms "
    "gymnospermae pinophyta coniferophyta cycadophyta ginkgophyta gnetophyta pteridophyta polypodiophyta lycopodiophyta "
    "lycophyta equisetophyta psilophyta",
    "bryophyta": "streptophyta embryophyta",
    "marchantiophyta": "streptophyta embryophyta bryophyta hepaticophyta",
    "anthocerotophyta": "streptophyta embryophyta bryophyta",
    "charophyta": "streptophyta chlorophyta",
    "chlorophyta": "charophyta",
    "chordata": "craniata vertebrata euchordata gnathostomata urochordata tunicata cephalochordata",
    "arthropoda": "hexapoda uniramia crustacea chelicerata mandibulata tracheata myriapoda",
    "annelida": "echiura sipuncula pogonophora vestimentifera",
    "cnidaria": "coelenterata",
    "bryozoa": "ectoprocta polyzoa",
    "nematoda": "nemata aschelminthes",
    "ochrophyta": "heterokontophyta phaeophyta chrysophyta bacillariophyta xanthophyta",
    "rhodophyta": "rhodobionta",
    "cyanobacteria": "cyanobacteriota cyanophyta",
    "cyanobacteriota": "cyanobacteria cyanophyta",
    "pseudomonadota": "proteobacteria",
    "proteobacteria": "pseudomonadota",
    "bacillota": "firmicutes",
    "firmicutes": "bacillota",
    "actinomycetota": "actinobacteria actinobacteriota",
    "actinobacteria": "actinomycetota actinobacteriota",
    "bacteroidota": "bacteroidetes",
    "bacteroidetes": "bacteroidota",
}
"""Phylum of the checklists -> what other classifications write for it, or for more or less than it, at that rank."""

FAMILIES = {
    "gramineae": "poaceae", "compositae": "asteraceae", "leguminosae": "fabaceae", "papilionaceae": "fabaceae",
    "umbelliferae": "apiaceae", "cruciferae": "brassicaceae", "labiatae": "lamiaceae", "palmae": "arecaceae",
    "guttiferae": "clusiaceae",
}  # fmt: skip
"""Family names that the botanical code allows beside the regular ones (article 18.5)."""

CLASS_SHIFTS = tuple(
    frozenset(words.split())
    for words in (
        "reptilia sauropsida lepidosauria squamata testudines chelonia crocodylia sphenodontia rhynchocephalia",
        "actinopterygii actinopteri teleostei osteichthyes pisces cladistii chondrostei holostei",
        "sarcopterygii osteichthyes pisces dipneusti dipnoi coelacanthi actinistia",
        "chondrichthyes elasmobranchii holocephali pisces",
        "cephalaspidomorphi petromyzonti hyperoartia agnatha cyclostomata myxini",
        "magnoliopsida liliopsida equisetopsida dicotyledoneae monocotyledoneae dicotyledones monocotyledones angiospermae "
        "angiospermopsida",
        "pinopsida coniferopsida gymnospermae cycadopsida ginkgoopsida gnetopsida equisetopsida",
        "polypodiopsida filicopsida pteridopsida equisetopsida marattiopsida psilotopsida lycopodiopsida",
        "insecta hexapoda entognatha collembola",
        "malacostraca crustacea",
        "maxillopoda hexanauplia copepoda thecostraca cirripedia crustacea",
        "clitellata oligochaeta hirudinea",
    )
)
"""Classes that good classifications give one and the same species; any two of a line."""

_ONE_WORD = {word: kingdom for kingdom, words in KINGDOMS.items() for word in (kingdom, *words.split())}
_OTHER_PHYLA = {word for words in PHYLA.values() for word in words.split()}
_SAYS_NOTHING = {"eukaryota", "eukarya", "eukaryotes", "biota", "life"}
_PLACEHOLDER = re.compile(
    r"\bincertae\b|\binc\. ?sed|\bsedis mutabilis\b|^(?:not|un|no) ?(?:yet )?(?:assigned|placed|ranked|classified|known|certain|determined|"
    r"identified|specified|rank)\b|^[\W\d_]*$"
)


def tidy(hints: Mapping[str, str]) -> dict[str, str]:
    """Hints as a source should hear them: the name without its author, kingdoms by one word, whatever says nothing left out.

    >>> tidy({"kingdom": "METAZOA", "class": "Not assigned", "order": "Lepidoptera, Linnaeus", "genus": "Eukaryota"})
    {'kingdom': 'Animalia', 'order': 'Lepidoptera'}
    """
    out = {}
    for rank in RANKS[:-1]:
        words = [] if _is_placeholder(hints.get(rank, "")) else hints[rank].split()
        name = words[0].rstrip(",;.") if words else ""
        if not name or fold(name) in _SAYS_NOTHING:
            continue
        if rank == "kingdom":
            name = _ONE_WORD.get(fold(name), name)
        out[rank] = name[:1].upper() + name[1:].lower()
    return out


def agreeing(hints: Mapping[str, str], usage: Usage) -> int:
    """On how many ranks an answer says the same as the tidied hints."""
    return sum(rank in usage.lineage and _same(rank, hints[rank], usage) for rank in hints)


def spoken(hints: Mapping[str, str]) -> dict[str, str]:
    """Hints without those that a name service would not know, and would hold against the name.

    >>> spoken({"kingdom": "Plantae", "phylum": "Magnoliophyta", "order": "incertae sedis", "family": "Gramineae"})
    {'kingdom': 'Plantae', 'family': 'Poaceae'}
    """
    out = {rank: value for rank, value in hints.items() if not _is_placeholder(value)}
    if (phylum := fold(out.get("phylum", ""))) in _OTHER_PHYLA and phylum not in PHYLA:
        del out["phylum"]
    if family := FAMILIES.get(fold(out.get("family", ""))):
        out["family"] = family.capitalize()
    return out


OPINION = frozenset({"order", "family"})
"""Ranks on which good classifications disagree about one and the same species; two of them differ in the family of one binomial in fourteen."""


def conflict(hints: Mapping[str, str], usage: Usage) -> str:
    """The first rank on which the tidied hints and the answer disagree, as a phrase; "" if none. Unknown ranks agree."""
    return next(
        (f"{rank} {hints[rank]} in the list, {usage.lineage[rank]} in the answer" for rank in _against(hints, usage)),
        "",
    )


def irreconcilable(hints: Mapping[str, str], usage: Usage) -> bool:
    """Whether they disagree on a rank that is no matter of opinion: kingdom, phylum, genus, and class but for CLASS_SHIFTS."""
    return any(rank not in OPINION and not _shifted(rank, hints[rank], usage) for rank in _against(hints, usage))


def vouched(hints: Mapping[str, str], usage: Usage) -> bool:
    """Whether a given rank above all that they disagree on says the same: else it may be another taxon of the same name."""
    highest = min(map(RANKS.index, _against(hints, usage)), default=len(RANKS))
    return agreeing({rank: hints[rank] for rank in RANKS[:highest] if rank in hints}, usage) > 0


def _shifted(rank: str, said: str, usage: Usage) -> bool:
    return rank == "class" and any({fold(said), fold(usage.lineage[rank])} <= known for known in CLASS_SHIFTS)


def _against(hints: Mapping[str, str], usage: Usage) -> list[str]:
    known = [rank for rank in RANKS[:-1] if rank in hints and not _is_placeholder(usage.lineage.get(rank, ""))]
    return [rank for rank in known if not _same(rank, hints[rank], usage)]


@lru_cache(maxsize=10_000)
def _is_placeholder(name: str) -> bool:
    """Whether a rank is filled with a word for nothing."""
    return bool(_PLACEHOLDER.search(fold(name)))


def _same(rank: str, said: str, usage: Usage) -> bool:
    said, found = fold(said), fold(usage.lineage[rank])
    if rank == "kingdom":
        return _ONE_WORD.get(said, said) == _ONE_WORD.get(found, found)
    if rank == "phylum":
        return said == found or said in PHYLA.get(found, "").split() or found in PHYLA.get(said, "").split()
    if rank == "family":
        return FAMILIES.get(said, said) == FAMILIES.get(found, found)
    return said == found or (
        rank == "genus" and fold(usage.canonical).split()[:1] == [said]
    )  # the genus before it moved
