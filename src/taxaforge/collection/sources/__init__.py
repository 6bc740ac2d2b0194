"""A source is a generator of candidates: one a picture that might enter the collection.

Sources know nothing of how files are stored or judged. A picture that cannot be had is a candidate
with an errorCode; only what makes the whole source unusable (no table, no directory) is raised.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Candidate:
    """One picture: content (bytes, or the file that holds them) or errorCode, and what is known about it.

    identifier is unique and stable across runs; scientificName is the accepted species. Other fields
    carry Darwin Core and Audiovisual Core meanings, None where unknown. officialSplit: train,
    validation or test, where the dataset has its own split.
    """

    identifier: str
    scientificName: str
    content: bytes | Path | None = None
    errorCode: str = ""
    verbatimScientificName: str | None = None
    gbifID: str | None = None
    occurrenceID: str | None = None
    datasetKey: str | None = None
    basisOfRecord: str | None = None
    recordedBy: str | None = None
    recordedByID: str | None = None
    eventDate: str | None = None
    countryCode: str | None = None
    decimalLatitude: float | None = None
    decimalLongitude: float | None = None
    coordinateUncertaintyInMeters: float | None = None
    informationWithheld: str | None = None
    license: str | None = None
    licenseVerbatimMedia: str | None = None
    licenseVerbatimRecord: str | None = None
    creator: str | None = None
    rightsHolder: str | None = None
    publisher: str | None = None
    references: str | None = None
    officialSplit: str | None = None
    caption: str = ""
