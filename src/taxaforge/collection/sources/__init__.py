"""A source is a generator of candidates: one a picture that might enter the collection.

`simulated.candidates`, `folder.candidates` and `gbif.candidates` know nothing of how files are stored
or judged. A picture that cannot be had is a candidate with an errorCode; only what makes the whole
source unusable (no table, no directory) is raised.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Candidate:
    """One picture: content (bytes, or the file that holds them) or errorCode, and what is known about it.

    identifier is unique and stable across runs; scientificName is the accepted species. Other fields
    carry Darwin Core and Audiovisual Core meanings, None where unknown.
    """

    identifier: str
    scientificName: str
    content: bytes | Path | None = None
    errorCode: str = ""
    verbatimScientificName: str | None = None
    recordedBy: str | None = None
    eventDate: str | None = None
    license: str | None = None
    rightsHolder: str | None = None
    caption: str = ""
