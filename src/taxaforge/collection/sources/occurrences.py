"""Occurrence search of GBIF: the media entries of a species, drawn from the whole range that may be searched.

The server returns occurrences by dataset and year, so the first hundred would be one survey. Pages are
drawn in the order of a keyed hash, a few at a time, and the entries of those few tried in another such order.
Of a species with more occurrences than a search may page through, each span of years is searched by itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from taxaforge.collection.media import Media
from taxaforge.seeds import seed_of
from taxaforge.taxonomy.keys import TaxonKey
from taxaforge.taxonomy.transport import GbifError, NotStored, canonical

PAGE = 300
"""Occurrences a request; the server gives no more, whatever is asked."""

DEEPEST = 9_900
"""Searches beyond this offset are restricted; who needs more should request a download from GBIF."""

SPANS = (
    (1600, 1979),
    (1980, 1999),
    (2000, 2009),
    (2010, 2014),
    *((year, year) for year in range(2015, 2027)),
    (2027, 2100),
)
"""Years, first and last: about as many occurrences with pictures in each, as far as one search reaches."""


@dataclass(frozen=True)
class Item:
    """One media entry of an occurrence; place: in the occurrence's own list."""

    place: int
    occurrence: Mapping
    media: Mapping

    def order(self, seed: int) -> int:
        """Its rank among the entries of a batch: a keyed hash."""
        return seed_of(seed, "gbif", occurrence_of(self.occurrence), self.place)


def occurrence_of(record: Mapping) -> str:
    return str(record.get("gbifID") or record.get("key"))


def items_of(record: Mapping) -> Iterator[Item]:
    for place, media in enumerate(record.get("media") or ()):
        yield Item(place, record, media)


def searched(species: str, key: TaxonKey, filters: Mapping, wanted: int, seed: int, media: Media) -> Iterator[Item]:
    """Media entries in the order in which they are to be tried; further pages are asked for only when needed.

    Args:
        species: for messages.
        filters: country, year, basisOfRecord, where something is asked of them.
        wanted: pictures needed; decides how many pages form a batch.
        media: remembers searches that found nothing.
    Raises: GbifError naming the species. Needs pygbif spoken to through a transport, see transport.installed.
    """
    whole = _page(species, key, filters, 0, media)
    parts = [(filters, whole)]
    if whole["count"] > DEEPEST:
        parts = [(part, _page(species, key, part, 0, media)) for part in by_years(filters)]
    pages = [(part, first, offset) for part, first in parts for offset in range(0, min(first["count"], DEEPEST), PAGE)]
    pages.sort(key=lambda page: seed_of(seed, "gbif page", key.key, page[0].get("year", ""), page[2]))
    at_once = 2 + -(-4 * wanted // PAGE)  # about half of all pictures have an open licence
    for start in range(0, len(pages), at_once):
        batch: list[Item] = []
        for part, first, offset in pages[start : start + at_once]:
            page = first if offset == 0 else _page(species, key, part, offset, media)
            for record in page["results"]:
                batch.extend(items_of(record))
        yield from sorted(batch, key=lambda item: (item.order(seed), occurrence_of(item.occurrence), item.place))


def by_years(filters: Mapping) -> list[dict]:
    """The same filters for one span of years after the other.

    >>> [part["year"] for part in by_years({"year": "2009,2015"})]
    ['2009,2009', '2010,2014', '2015,2015']
    """
    first, _, last = filters.get("year", "0,9999").partition(",")
    spans = ((max(begin, int(first)), min(end, int(last or first))) for begin, end in SPANS)
    return [{**filters, "year": f"{begin},{end}"} for begin, end in spans if begin <= end]


def parameters(
    key: TaxonKey,
    *,
    country: list[str] | None = None,
    year: str | None = None,
    basisOfRecord: list[str] | None = None,
    offset: int = 0,
) -> dict:
    """All that a search may be asked with. GBIF ignores a parameter that it does not know and returns everything.

    Raises: TypeError for any other parameter, and for a key that is no TaxonKey.
    """
    if not isinstance(key, TaxonKey):
        raise TypeError(f"occurrences are searched by TaxonKey, not by {type(key).__name__} {key!r}")
    given = {"country": country, "year": year, "basisOfRecord": basisOfRecord}
    return {name: value for name, value in given.items() if value} | {
        "taxonKey": key.key,
        "checklistKey": key.checklist_key,
        "mediatype": "StillImage",
        "limit": PAGE,
        "offset": offset,
    }


def _page(species: str, key: TaxonKey, filters: Mapping, offset: int, media: Media) -> dict:
    from pygbif import occurrences  # late, see transport.installed

    asked = parameters(key, **filters, offset=offset)
    try:
        page = occurrences.search(**asked)
    except NotStored as error:
        if canonical(asked) in media.empty:
            return {"count": 0, "results": []}
        raise NotStored(f"Occurrences of {species} could not be had: {error}") from error
    except GbifError as error:
        raise type(error)(f"Occurrences of {species} could not be had: {error} Run again later.") from error
    if not page["results"]:
        media.mark_empty(canonical(asked))
    return {"count": page.get("count", 0), "results": page["results"]}
