"""Who made each picture, under which terms, and which GBIF datasets are owed a citation."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from taxaforge.collection.manifest import PUBLISHED
from taxaforge.tables import Column, Schema

_CREATIVE_COMMONS = re.compile(r"(?:LicenseRef-)?CC-(BY(?:-(?:NC|ND|SA))*)(?:-(\d\.\d))?")
_PUBLIC = {
    "CC0-1.0": ("CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "CC-PDM-1.0": ("Public Domain Mark 1.0", "https://creativecommons.org/publicdomain/mark/1.0/"),
}
_DATASET_KEY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

TERMS_OF_USE = {
    "BY": "name the creator",
    "SA": "share adaptations under the same licence",
    "NC": "no commercial use",
    "ND": "no adaptations, which crops may be",
    "unknown": "terms unknown: ask before any use",
}
"""What a licence asks, mildest first."""

ATTRIBUTION = Schema(
    "attribution",
    ("identifier",),
    {
        "identifier": PUBLISHED.columns["identifier"],
        "file_name": PUBLISHED.columns["file_name"],
        "scientificName": PUBLISHED.columns["scientificName"],
        "creator": PUBLISHED.columns["creator"],
        "rightsHolder": PUBLISHED.columns["rightsHolder"],
        "license": PUBLISHED.columns["license"],
        "license_url": Column("string", "text of the licence", nullable=True),
        "references": Column(
            "string", "page about the picture; of its occurrence at GBIF where it has none", nullable=True
        ),
        "publisher": PUBLISHED.columns["publisher"],
        "datasetKey": PUBLISHED.columns["datasetKey"],
        "attribution": Column("string", "the same as a line to print; never empty"),
    },
)

DERIVED = Schema(
    "derived_dataset",
    ("datasetKey",),
    {
        "datasetKey": Column("string", "GBIF dataset that pictures come from"),
        "count": Column("int64", "occurrences of it whose pictures are in the collection"),
    },
)


def licence_name(licence: str | None) -> str:
    """As people write it.

    >>> licence_name("CC-BY-NC-4.0"), licence_name("LicenseRef-CC-BY-SA"), licence_name(None)
    ('CC BY-NC 4.0', 'CC BY-SA, version not stated', 'not stated')
    """
    if licence in _PUBLIC:
        return _PUBLIC[licence][0]
    if found := _CREATIVE_COMMONS.fullmatch(licence or ""):
        return f"CC {found[1]} {found[2]}" if found[2] else f"CC {found[1]}, version not stated"
    return licence or "not stated"


def licence_url(licence: str | None) -> str | None:
    """Where its text stands; None where the id does not say which text it is."""
    if licence in _PUBLIC:
        return _PUBLIC[licence][1]
    found = _CREATIVE_COMMONS.fullmatch(licence or "")
    return f"https://creativecommons.org/licenses/{found[1].lower()}/{found[2]}/" if found and found[2] else None


def terms_of(licence: str | None) -> list[str]:
    """Keys of TERMS_OF_USE that the licence asks for; none for the public domain."""
    if licence in _PUBLIC:
        return []
    found = _CREATIVE_COMMONS.fullmatch(licence or "")
    return sorted(found[1].split("-"), key=list(TERMS_OF_USE).index) if found else ["unknown"]


def strictness(licence: str | None) -> tuple[int, str]:
    """Sorts licences from the freest to the strictest."""
    order = list(TERMS_OF_USE)
    return sum(2 ** order.index(term) for term in terms_of(licence)), licence or ""


def attributions(rows: Iterable[Mapping]) -> list[dict]:
    """One row of schema ATTRIBUTION for each row of the published table, in its order."""
    return [
        {name: row.get(name) for name in ATTRIBUTION.columns}
        | {"license_url": licence_url(row["license"]), "references": page_of(row), "attribution": credit(row)}
        for row in rows
    ]


def page_of(row: Mapping) -> str | None:
    """The page about a picture: its own, else its occurrence's at GBIF, else the address it came from."""
    if row["references"]:
        return row["references"]
    if row["gbifID"]:
        return f"https://www.gbif.org/occurrence/{row['gbifID']}"
    return row["identifier"] if row["identifier"].startswith(("http://", "https://")) else None


def credit(row: Mapping) -> str:
    """A line that says what a CC BY licence wants said: what, who, under which terms, where it is from."""
    creator, holder = row["creator"], row["rightsHolder"]
    who = creator or holder or row["recordedBy"] or "unknown creator"
    rights = f" (rights: {holder})" if holder and holder != who else ""
    terms = licence_name(row["license"]) if row["license"] else "licence not stated"
    url = licence_url(row["license"])
    what = f"{row['scientificName']}{' (drawn specimen)' if row['source'] == 'simulated' else ''}"
    parts = [
        f"{what} by {who}{rights}",
        f"{terms} ({url})" if url else terms,
        page_of(row) or row["identifier"],
        f"published by {row['publisher']}" if row["publisher"] else "",
    ]
    return " ".join(", ".join(filter(None, parts)).split())


def derived_datasets(rows: Sequence[Mapping]) -> list[dict]:
    """Schema DERIVED, by key: what GBIF asks for when a derived dataset is registered for a DOI.

    GBIF wants records counted, so an occurrence with several pictures counts once. Sources that are no
    GBIF dataset have no place in it.
    """
    records: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if _DATASET_KEY.fullmatch(row["datasetKey"] or ""):
            records[row["datasetKey"]].add(row["gbifID"] or row["occurrenceID"] or row["identifier"])
    return [{"datasetKey": key, "count": len(records[key])} for key in sorted(records)]


def licences_of(rows: Iterable[Mapping]) -> list[tuple[str | None, int]]:
    """(licence, pictures), freest first."""
    return sorted(Counter(row["license"] for row in rows).items(), key=lambda item: strictness(item[0]))
