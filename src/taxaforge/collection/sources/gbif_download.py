"""A Darwin Core archive requested from GBIF: ask once, wait, fetch, keep with its DOI.

The request is written as gbif/tech-docs @6759a20 (api-downloads) describes it; multimedia.txt is part of every Darwin
Core archive and need not be asked for. How the service is spoken to stands in gbif_service.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from taxaforge.collection.sources.gbif_service import DownloadFailed, NoAccount, Service
from taxaforge.files import read_json, sha256_of, write_json
from taxaforge.taxonomy.keys import CHECKLISTS, TaxonKey
from taxaforge.taxonomy.transport import BadPayload, NotStored, Rejected

__all__ = ["DownloadFailed", "NoAccount", "request_archive", "request_body"]

YEAR = re.compile(r"\d{1,4}(,\d{1,4})?")


@dataclass(frozen=True)
class Held:
    """What download.json remembers. request: as sent; requestedAt: UTC; sha256, size (bytes), doi: once it is here."""

    key: str
    request: dict
    job: str
    requestedAt: str
    doi: str | None = None
    license: str | None = None
    totalRecords: int | None = None
    size: int | None = None
    sha256: str | None = None
    file: str | None = None


def request_archive(
    keys: Mapping[str, TaxonKey],
    checklist: str,
    filters: Mapping,
    network: Mapping,
    folder: Path,
    job: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """The archive of the occurrences with still pictures of these taxa; from `folder` if it is there already.

    The download's key is in folder/download.json before anything is waited for: who is killed and starts again waits
    for the same download, and goes on with the file where it broke off. DOI and digest are kept there, too. The same
    request of another job is used again for `network.reuse_days`. GBIF may take hours; there is no limit to the waiting.

    Args:
        keys: species -> key of `checklist`.
        filters: country (ISO codes), basisOfRecord (constants), year ("2020" or "2015,2024"); empty: all. Others are
            refused.
        network: section network with "offline". tries and timeout_s hold for every question; pauses between two
            looks at the status grow from 1 / requests_per_second to timeout_s.
        folder: of this one download.
        job: of the run; a restart has the same.
    Raises: NoAccount; a GbifError, where the next run goes on, or DownloadFailed, where it starts anew.
    """
    folder, body = Path(folder), request_body(keys, checklist, filters)
    held = _held(folder, body, network, job)
    if held and held.sha256:
        return _checked(folder, held)
    if network["offline"]:
        raise NotStored(
            f"The download from GBIF is not in {folder}, and nobody may be asked. "
            "Run once with `taxonomy: {offline: false}`, or bring a Darwin Core archive and name it in `collection.gbif.archive`."
        )
    service = Service(network, sleep)
    if held is None:
        held = Held(service.request(body), body, job, _now().isoformat(timespec="seconds"))
        write_json(folder / "download.json", asdict(held))
        print(f"GBIF download {held.key} requested, kept in {folder}")
    try:
        told = service.ready(held.key, CHECKLISTS[checklist])
    except DownloadFailed:
        (folder / "download.json").unlink()
        raise
    file = folder / f"{held.key}.zip"
    service.fetch(held.key, file, told.get("size") or 0)
    known = {name: told.get(name) for name in ("doi", "license", "totalRecords")}
    held = replace(held, **known, size=file.stat().st_size, sha256=sha256_of(file), file=file.name)
    write_json(folder / "download.json", asdict(held))
    print(f"GBIF download {held.key} is here: {held.totalRecords} occurrences, to be cited as {held.doi}")
    return file


def request_body(keys: Mapping[str, TaxonKey], checklist: str, filters: Mapping) -> dict:
    """The request as JSON, without who asks. Checklist in the taxon filter *and* at the root: the one decides what
    is found, the other what the taxonomic columns say.

    Raises: GbifError for a key of another checklist, or an unknown filter.
    """
    others = [str(key) for key in keys.values() if key.checklist != checklist]
    unknown = set(filters) - {"country", "basisOfRecord", "year"}
    if others or unknown or not keys:
        raise Rejected(
            f"A download for {checklist} cannot be asked for with {', '.join(sorted([*others, *unknown])[:5]) or 'no taxa'}."
        )
    wanted = [
        {
            "type": "in",
            "key": "TAXON_KEY",
            "values": sorted(key.key for key in keys.values()),
            "checklistKey": CHECKLISTS[checklist],
        },
        {"type": "equals", "key": "MEDIA_TYPE", "value": "StillImage"},
    ]
    for name, parameter in (("country", "COUNTRY"), ("basisOfRecord", "BASIS_OF_RECORD")):
        if filters.get(name):
            wanted.append({"type": "in", "key": parameter, "values": sorted(filters[name])})
    if year := str(filters.get("year") or "").replace(" ", ""):
        if not YEAR.fullmatch(year):
            raise Rejected(f"collection.gbif.year is {year!r}. Write a year `2020` or a range `2015,2024`.")
        first, _, last = year.partition(",")
        wanted.append({"type": "greaterThanOrEquals", "key": "YEAR", "value": first})
        wanted.append({"type": "lessThanOrEquals", "key": "YEAR", "value": last or first})
    return {
        "sendNotification": False,
        "format": "DWCA",
        "checklistKey": CHECKLISTS[checklist],
        "predicate": {"type": "and", "predicates": wanted},
    }


def _held(folder: Path, body: dict, network: Mapping, job: str) -> Held | None:
    """What is known of a download of the same request; None: it must be asked for."""
    try:
        held = Held(**read_json(folder / "download.json"))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise BadPayload(f"{folder / 'download.json'} is not what was written there ({error}). Delete it.") from None
    age = _now() - datetime.fromisoformat(held.requestedAt)
    fresh = held.job == job or network["offline"] or age <= timedelta(days=network["reuse_days"])
    return held if held.request == body and fresh else None


def _checked(folder: Path, held: Held) -> Path:
    file = folder / str(held.file)
    if not file.is_file() or sha256_of(file) != held.sha256:
        raise BadPayload(
            f"{file} is not the file that was downloaded. Delete {folder / 'download.json'} and it is fetched again."
        )
    return file


def _now() -> datetime:
    return datetime.now(UTC)
