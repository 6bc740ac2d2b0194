"""Source `gbif`: pictures of occurrences, under licences that allow their use, each with its origin.

The server returns occurrences by dataset and year, so the first hundred would be one survey. Pages are
drawn over the whole range that may be searched, and their pictures tried in the order of a hash of
(seed, occurrence, place), until a species has what it needs.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from taxaforge.collection.sources import Candidate
from taxaforge.collection.sources.download import Downloader
from taxaforge.collection.sources.licences import spdx
from taxaforge.errors import TaxaforgeError
from taxaforge.progress import Progress
from taxaforge.seeds import seed_of
from taxaforge.taxonomy.transport import CHECKLISTS, GbifError, Transport, api_base, installed, user_agent

PAGE = 300
"""Occurrences a request; the server gives no more, whatever is asked."""

DEEPEST = 9_900
"""Searches beyond this offset are restricted; who needs more should request a download from GBIF."""

DOUBTFUL = {"TAXON_MATCH_HIGHERRANK", "TAXON_MATCH_FUZZY", "TAXON_MATCH_AGGREGATE"}
NOT_IN_LIFE = {"MATERIAL_CITATION", "FOSSIL_SPECIMEN"}


class KeysOfAnotherChecklist(TaxaforgeError):
    """The species were resolved elsewhere: their keys mean nothing to GBIF, or something else."""


@dataclass(frozen=True)
class Item:
    """One media entry of an occurrence. order: place in the keyed-hash order; place: in the occurrence's own list."""

    order: int
    place: int
    occurrence: Mapping
    media: Mapping


def candidates(classes: Sequence[Mapping], cfg: Mapping, taxonomy: Mapping, seed: int) -> Iterator[Candidate]:
    """Pictures of each species until `images_per_species` are kept or nothing is left to try.

    Every picture that was looked at is a candidate: with its bytes, or with the one reason against it.

    Args:
        classes: lineage records, as in classes.json, with the keys of the checklist below.
        cfg: section collection.gbif: images_per_species, licences, timeout_s.
        taxonomy: section taxonomy: checklist, tries, timeout_s, contact.
        seed: of the collection; another seed tries the pictures in another order.
    Raises: KeysOfAnotherChecklist before anything is asked; GbifError naming the species whose
        occurrences could not be had.
    """
    checklist = taxonomy["checklist"]
    keys = {record["species"]: _key(record, checklist) for record in classes}
    agent, base = user_agent(taxonomy["contact"]), api_base()
    download = Downloader(agent, cfg["timeout_s"], local=_is_local(base))
    progress = Progress("images from GBIF", len(classes) * cfg["images_per_species"], "images")
    seen: dict[str, str] = {}
    kept = 0
    with installed(Transport(base, agent, taxonomy["timeout_s"], taxonomy["tries"])):
        for species, key in keys.items():
            wanted = cfg["images_per_species"]
            for item in _items(species, key, checklist, wanted, seed):
                if wanted == 0:
                    break
                found = judge(item, species, key, checklist, cfg["licences"])
                if found.identifier in seen:
                    if seen[found.identifier] != species:  # one picture under two species: whoever stores it must know
                        yield replace(found, errorCode="two_species")
                    continue
                seen[found.identifier] = species
                if not found.errorCode:
                    content, error = download.get(found.identifier)
                    found = replace(found, content=content or None, errorCode=error)
                    wanted, kept = wanted - (not error), kept + (not error)
                    progress(kept)
                yield found


def judge(item: Item, species: str, key: str, checklist: str, licences: Sequence[str]) -> Candidate:
    """The candidate of a media entry; its errorCode is the first reason not to download it, "" if there is none.

    The licence is the picture's own. That of the record is another thing: one in ten differs.
    """
    media, record = item.media, item.occurrence
    licence, url = spdx(media.get("license")), (media.get("identifier") or "").strip()
    reasons = {
        "no_address": not url,
        "not_a_still_image": media.get("type") not in (None, "StillImage")
        or not (media.get("format") or "image/").startswith("image/"),
        "not_in_life": record.get("basisOfRecord") in NOT_IN_LIFE,
        "doubtful_name": bool(DOUBTFUL & set(record.get("issues") or ())),
        "other_species": _species_key(record, checklist) not in (None, key),
        "licence_missing": not media.get("license"),
        "licence_unknown": licence is None,
        "licence_not_allowed": licence not in licences,
    }
    occurrence = str(record.get("gbifID") or record.get("key"))
    return Candidate(
        identifier=url or f"gbif:{occurrence}:{item.place}",
        scientificName=species,
        errorCode=next((code for code, applies in reasons.items() if applies), ""),
        verbatimScientificName=record.get("verbatimScientificName") or record.get("scientificName"),
        # Pictures of one occurrence must stay together even where nobody is named.
        recordedBy=record.get("recordedBy") or f"unknown, GBIF occurrence {occurrence}",
        eventDate=record.get("eventDate"),
        license=licence or media.get("license"),
        rightsHolder=media.get("rightsHolder") or media.get("creator"),
    )


def _items(species: str, key: str, checklist: str, wanted: int, seed: int) -> Iterator[Item]:
    """Media entries in the order in which they are to be tried, asking for further pages only when needed."""
    first = _page(species, key, checklist, 0)
    offsets = range(0, min(first["count"], DEEPEST), PAGE)
    order = sorted(offsets, key=lambda offset: seed_of(seed, "gbif page", key, offset))
    at_once = 2 + -(-4 * wanted // PAGE)  # about half of all pictures have an open licence
    for start in range(0, len(order), at_once):
        batch = []
        for offset in order[start : start + at_once]:
            page = first if offset == 0 else _page(species, key, checklist, offset)
            for record in page["results"]:
                for place, media in enumerate(record.get("media") or ()):
                    occurrence = record.get("gbifID") or record.get("key")
                    batch.append(Item(seed_of(seed, "gbif", occurrence, place), place, record, media))
        yield from sorted(batch, key=lambda item: item.order)


def _page(species: str, key: str, checklist: str, offset: int) -> dict:
    from pygbif import occurrences  # late, see transport.installed

    try:
        return occurrences.search(
            taxonKey=key, checklistKey=CHECKLISTS[checklist], mediatype="StillImage", limit=PAGE, offset=offset
        )
    except GbifError as error:
        raise type(error)(f"Occurrences of {species} could not be had: {error} Run again later.") from error


def _key(record: Mapping, checklist: str) -> str:
    prefix, _, key = record["taxonID"].partition(":")
    if prefix != checklist or not key:
        raise KeysOfAnotherChecklist(
            f"{record['species']} has the taxonID {record['taxonID']!r}, but GBIF is asked for {checklist}. "
            "Set `taxonomy.source: gbif`, so that names are resolved where the pictures come from."
        )
    return key


def _species_key(record: Mapping, checklist: str) -> str | None:
    """Key of the species in the checklist that was asked; the flat fields of a record always follow the Backbone."""
    lineage = record.get("classifications", {}).get(CHECKLISTS[checklist], {}).get("classification", ())
    return next((str(entry["key"]) for entry in lineage if entry.get("rank") == "SPECIES"), None)


def _is_local(base: str) -> bool:
    """Whether the API itself is on this machine or network (a mirror, a test): then its pictures may be, too."""
    host = urlsplit(base).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost"
