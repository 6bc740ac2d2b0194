"""Source `gbif`: pictures of occurrences, under licences that allow their use, each with its origin.

Every picture that was looked at ends as one row: kept, or with the one reason against it. A reason is
known before anything is fetched (`judge`), or from the observer's share (lanes), or from the fetch (download).
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from heapq import nsmallest
from itertools import groupby
from pathlib import Path

from taxaforge.collection.media import Media
from taxaforge.collection.sources import Candidate
from taxaforge.collection.sources.hosts import Fetcher
from taxaforge.collection.sources.lanes import Lane, gather
from taxaforge.collection.sources.licences import spdx
from taxaforge.collection.sources.occurrences import Item, items_of, occurrence_of, searched
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json
from taxaforge.progress import Progress
from taxaforge.taxonomy.keys import CHECKLISTS, TaxonKey
from taxaforge.taxonomy.transport import installed, open_service

MOST_BY_SEARCH = 5_000
"""Images asked; above, GBIF wants a download to be requested, and the search does not reach far enough."""

SPARE = 20
"""Entries of an archive that are remembered for each picture wanted; half have no open licence, some are gone."""

DOUBTFUL = {"TAXON_MATCH_HIGHERRANK", "TAXON_MATCH_FUZZY", "TAXON_MATCH_AGGREGATE"}
NOT_IN_LIFE = {"MATERIAL_CITATION", "FOSSIL_SPECIMEN"}


class KeysOfAnotherChecklist(TaxaforgeError):
    """The species were resolved elsewhere: their keys mean nothing to GBIF, or something else."""


class BadFilter(TaxaforgeError):
    """A setting of collection.gbif that no occurrence can be compared with."""


class NeedsAccount(TaxaforgeError):
    """So many pictures are had only by a download, which GBIF gives to its users."""


def candidates(
    classes: Sequence[Mapping], cfg: Mapping, taxonomy: Mapping, network: Mapping, seed: int, job: str
) -> Iterator[Candidate]:
    """Pictures of each species until `images_per_species` are kept or nothing is left to try, species by species.

    Which are kept, and in which order they come, depends on nothing but the arguments and what GBIF and the
    hosts have: not on workers, pace or faults that pass, nor on the other species. A run that was stopped goes
    on from `network.store`.

    Args:
        classes: lineage records, as in classes.json, with the keys of the checklist below.
        cfg: section collection.gbif; archive: where the archive is, "" for none.
        taxonomy: checklist.
        network: section network, with "offline".
        seed: of the collection; another seed tries the pictures in another order.
        job: name under which outcomes are kept.
    Raises: KeysOfAnotherChecklist, BadFilter, NeedsAccount before anything is asked; GbifError where the
        service or the network is down; DamagedStore.
    """
    keys = {record["species"]: _key(record, taxonomy["checklist"]) for record in classes}
    filters, way, wanted = filters_of(cfg), way_of(cfg, len(keys)), cfg["images_per_species"]
    media = Media(Path(network["store"]) / "media", job)
    service = installed(open_service(network)) if way == "search" else nullcontext()
    manners = {**network, "allow_private_hosts": cfg["allow_private_hosts"]}
    with Fetcher(media, manners) as fetcher, service:
        if way == "search":
            found = ((one, searched(one, key, filters, wanted, seed, media)) for one, key in sorted(keys.items()))
        else:
            archive = (
                Path(cfg["archive"]) if way == "archive" else _download(keys, taxonomy["checklist"], cfg, network, job)
            )
            found = _listed(archive, keys, wanted, seed)
        lanes = (
            Lane(species, _judged(items, species, keys[species], cfg, filters), wanted, cfg["images_per_observer"])
            for species, items in found
        )
        shown = _Shown(media, len(keys) * wanted)
        yield from _counted(gather(lanes, fetcher, shown, 4 * network["image_workers"]), keys, wanted)


def finish(network: Mapping, job: str) -> None:
    """The table of a job stands; should it run once more, hosts that failed in passing are asked again."""
    if not network["offline"]:
        Media(Path(network["store"]) / "media", job).finish()


def origin(classes: Sequence[Mapping], cfg: Mapping, taxonomy: Mapping, network: Mapping) -> dict:
    """How the occurrences were had: {"via": search, download or archive, "doi": of a download}."""
    way, doi = way_of(cfg, len(classes)), None
    if way == "download":
        keys = {record["species"]: _key(record, taxonomy["checklist"]) for record in classes}
        doi = read_json(_folder(keys, taxonomy["checklist"], cfg, network) / "download.json").get("doi")
    return {"via": way, "doi": doi}


def way_of(cfg: Mapping, species: int) -> str:
    """search, download or archive. Raises: NeedsAccount where a download was not asked for by name and cannot be had."""
    if cfg.get("archive"):
        return "archive"
    asked = species * cfg["images_per_species"]
    if cfg["via"] != "auto":
        return cfg["via"]
    if asked <= MOST_BY_SEARCH:
        return "search"
    if not os.environ.get("GBIF_USER"):
        raise NeedsAccount(
            f"{asked} images are asked of GBIF ({species} species, {cfg['images_per_species']} each); above {MOST_BY_SEARCH} a "
            "download is requested, which needs an account: set GBIF_USER and GBIF_PASSWORD in the environment, or name an "
            "archive in `collection.gbif.archive`, or ask for fewer with `collection.gbif.images_per_species`."
        )
    return "download"


def filters_of(cfg: Mapping) -> dict:
    """Parameters of the search that are set. Raises: BadFilter."""
    year = cfg["year"].replace(" ", "")
    if year and not re.fullmatch(r"\d{4}(,\d{4})?", year):
        raise BadFilter(f"collection.gbif.year is {cfg['year']!r}; write a year `2020` or a range `2015,2024`.")
    country = sorted(code.upper() for code in cfg["country"])
    if wrong := [code for code in country if not re.fullmatch("[A-Z]{2}", code)]:
        raise BadFilter(f"collection.gbif.country has {wrong[0]!r}; write ISO 3166 two-letter codes such as `DE`.")
    found = {"country": country, "year": year, "basisOfRecord": sorted(cfg["basis_of_record"])}
    return {name: value for name, value in found.items() if value}


def judge(item: Item, species: str, key: TaxonKey, cfg: Mapping, filters: Mapping) -> Candidate:
    """The candidate of a media entry; its errorCode is the first reason not to fetch it, "" if there is none.

    The licence is the picture's own. That of the record is another thing: one in ten differs. Filters are
    looked at here, too: an archive was not asked for them, and a server that does not know one ignores it.
    """
    media, record = item.media, item.occurrence
    licence, url = spdx(media.get("license")), (media.get("identifier") or "").strip()
    basis, country = record.get("basisOfRecord"), record.get("countryCode")
    year = str(record.get("year") or record.get("eventDate") or "")[:4]
    reasons = {
        "no_address": not url,
        "not_a_still_image": media.get("type") not in (None, "", "StillImage")
        or not (media.get("format") or "image/").startswith("image/"),
        "not_in_life": basis in NOT_IN_LIFE - set(cfg["basis_of_record"]),
        "other_basis_of_record": "basisOfRecord" in filters and basis not in filters["basisOfRecord"],
        "other_country": "country" in filters and country not in filters["country"],
        "other_year": "year" in filters and not _within(year, filters["year"]),
        "doubtful_name": bool(DOUBTFUL & set(record.get("issues") or ())),
        "other_species": _species_key(record, key) not in (None, key.key),
        "licence_missing": not media.get("license"),
        "licence_unknown": licence is None,
        "licence_not_allowed": licence not in cfg["licences"],
    }
    occurrence = occurrence_of(record)
    return Candidate(
        identifier=url or f"gbif:{occurrence}:{item.place}",
        scientificName=species,
        errorCode=next((code for code, applies in reasons.items() if applies), ""),
        verbatimScientificName=_text(record.get("verbatimScientificName") or record.get("scientificName")),
        gbifID=occurrence,
        occurrenceID=_text(record.get("occurrenceID")),
        datasetKey=_text(record.get("datasetKey")),
        basisOfRecord=_text(basis),
        recordedBy=_text(record.get("recordedBy")),
        recordedByID=_identifiers(record.get("recordedByIDs") or record.get("recordedByID")),
        eventDate=_text(record.get("eventDate")),
        countryCode=_text(country),
        decimalLatitude=_number(record.get("decimalLatitude")),
        decimalLongitude=_number(record.get("decimalLongitude")),
        coordinateUncertaintyInMeters=_number(record.get("coordinateUncertaintyInMeters")),
        informationWithheld=_text(record.get("informationWithheld") or record.get("dataGeneralizations")),
        license=licence,
        licenseVerbatimMedia=_text(media.get("license")),
        licenseVerbatimRecord=_text(record.get("license")),
        creator=_text(media.get("creator")),
        rightsHolder=_text(media.get("rightsHolder") or record.get("rightsHolder")),
        publisher=_text(media.get("publisher")),
        references=_text(media.get("references") or record.get("references")),
    )


class _Shown:
    """Where a stored picture lies; calling it moves the line of progress."""

    def __init__(self, media: Media, total: int):
        self.media, self.progress, self.count, self.mib = media, Progress("images from GBIF", total, "images"), 0, 0.0

    def __call__(self, sha256: str) -> Path:
        path = self.media.path(sha256)
        self.count, self.mib = self.count + 1, self.mib + path.stat().st_size / 2**20
        self.progress(self.count, MiB=self.mib)
        return path


def _judged(items: Iterable[Item], species: str, key: TaxonKey, cfg: Mapping, filters: Mapping) -> Iterator[Candidate]:
    for item in items:
        yield judge(item, species, key, cfg, filters)


def _counted(found: Iterable[Candidate], keys: Iterable[str], wanted: int) -> Iterator[Candidate]:
    """The same candidates; at their end, how many species have fewer pictures than were wanted."""
    had = Counter(dict.fromkeys(keys, 0))
    for candidate in found:
        had[candidate.scientificName] += not candidate.errorCode
        yield candidate
    if fewer := sum(count < wanted for count in had.values()):
        print(f"{fewer} of {len(had)} species have fewer pictures that may be used than the {wanted} asked")


def _download(keys: Mapping[str, TaxonKey], checklist: str, cfg: Mapping, network: Mapping, job: str) -> Path:
    from taxaforge.collection.sources.gbif_download import request_archive

    folder = _folder(keys, checklist, cfg, network)
    return request_archive(keys, checklist, filters_of(cfg), network, folder, job)


def _folder(keys: Mapping[str, TaxonKey], checklist: str, cfg: Mapping, network: Mapping) -> Path:
    """Where a download lies: a folder for each request, so that another job with the same one finds it."""
    from taxaforge.collection.sources.gbif_download import request_body

    request = json.dumps(request_body(keys, checklist, filters_of(cfg)), sort_keys=True)
    return Path(network["store"]) / "downloads" / hashlib.sha256(request.encode()).hexdigest()[:16]


def _listed(
    archive: Path, keys: Mapping[str, TaxonKey], wanted: int, seed: int
) -> Iterator[tuple[str, Iterator[Item]]]:
    """The media entries that an archive has of each species, the same order of a keyed hash for all of them."""
    from taxaforge.collection.sources.gbif_archive import records

    for species, group in groupby(records(archive, keys), key=lambda pair: pair[0]):
        items = (item for _, record in group for item in items_of(record))
        order = lambda item: (item.order(seed), occurrence_of(item.occurrence), item.place)  # noqa: E731
        yield species, iter(nsmallest(SPARE * wanted, items, key=order))


def _key(record: Mapping, checklist: str) -> TaxonKey:
    prefix = str(record["taxonID"]).partition(":")[0]
    if prefix != checklist or prefix not in CHECKLISTS:
        raise KeysOfAnotherChecklist(
            f"{record['species']} has the taxonID {record['taxonID']!r}, but GBIF is asked for {checklist}. "
            "Set `taxonomy.source: gbif`, so that names are resolved where the pictures come from."
        )
    return TaxonKey.parse(record["taxonID"])


def _species_key(record: Mapping, key: TaxonKey) -> str | None:
    """Key of the species in the checklist that was asked; the flat fields of a record always follow the Backbone."""
    lineage = record.get("classifications", {}).get(key.checklist_key, {}).get("classification", ())
    return next((str(entry["key"]) for entry in lineage if entry.get("rank") == "SPECIES"), None)


def _within(year: str, asked: str) -> bool:
    first, _, last = asked.partition(",")
    return bool(re.fullmatch(r"\d{4}", year)) and first <= year <= (last or first)


def _identifiers(value: object) -> str | None:
    """One observer id a person, `recordedByIDs` as a search gives them or a plain text as an archive does."""
    if isinstance(value, list):
        value = " | ".join(
            sorted({_text(one.get("value") if isinstance(one, Mapping) else one) or "" for one in value})
        )
    return _text(value)


def _text(value: object) -> str | None:
    return (" ".join(str(value).split()) or None) if value is not None else None


def _number(value: object) -> float | None:
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError):
        return None
