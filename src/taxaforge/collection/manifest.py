"""The published table: one row a picture, in Darwin Core and Audiovisual Core terms, with the split it was given.

Views, card and Croissant description are all made from its rows. It holds what may be published: a picture under any
other licence, or none, is in the collection and in training, but not here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from taxaforge import tables
from taxaforge.collection.schema import METADATA, SPLIT_NAMES, SPLITS
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json
from taxaforge.tables import Column, Schema

DWC, DC, AC = "http://rs.tdwg.org/dwc/terms/", "http://purl.org/dc/terms/", "http://rs.tdwg.org/ac/terms/"
GBIF, EXIF = "http://rs.gbif.org/terms/1.0/", "http://ns.adobe.com/exif/1.0/"

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")

MIME = {
    "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "tif": "image/tiff", "gif": "image/gif",
    "bmp": "image/bmp",
}  # fmt: skip
"""By the suffixes that fetched pictures are stored under."""

_FROM_METADATA = (
    "gbifID", "occurrenceID", "datasetKey", "basisOfRecord", "recordedBy", "recordedByID", "eventDate", "countryCode",
    "decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters", "informationWithheld", "license",
    "licenseVerbatimMedia", "licenseVerbatimRecord", "creator", "rightsHolder", "publisher", "references", "caption",
    "officialSplit", "source", "sha256", "img_width", "img_height", "img_pixel_sha256", "img_phash", "qc_contrast",
    "qc_sharpness", "qc_mono", "qc_duplicate_set", "qc_outlier",
)  # fmt: skip

PUBLISHED = Schema(
    "published",
    ("identifier",),
    {
        "identifier": METADATA.columns["identifier"],
        "file_name": METADATA.columns["file_name"],
        "split": Column("string", f"{', '.join(SPLIT_NAMES[:-1])} or unused"),
        "split_group": Column("string", "smallest identifier among the pictures that must stay together"),
        "label": Column("int64", "number of the species, 0 for the first in the class order"),
        "taxonID": Column("string", '"<checklist>:<key>" of the accepted species', nullable=True),
        "scientificName": METADATA.columns["scientificName"],
        "verbatimScientificName": METADATA.columns["verbatimScientificName"],
        "vernacularName": Column("string", "as given in the species list", nullable=True),
        "taxonRank": Column("string", "always species"),
        **{rank: Column("string", f"{rank} of the accepted species", nullable=True) for rank in RANKS},
        "type": Column("string", "Dublin Core type: StillImage"),
        "format": Column("string", "media type of the file, such as image/jpeg"),
        **{name: METADATA.columns[name] for name in _FROM_METADATA},
    },
)

_DARWIN_CORE = (
    "taxonID", "scientificName", "verbatimScientificName", "vernacularName", "taxonRank", *RANKS, "occurrenceID",
    "basisOfRecord", "recordedBy", "recordedByID", "eventDate", "countryCode", "decimalLatitude", "decimalLongitude",
    "coordinateUncertaintyInMeters", "informationWithheld",
)  # fmt: skip
_DUBLIN_CORE = ("identifier", "type", "format", "license", "creator", "rightsHolder", "publisher", "references")

TERMS = {
    **{name: DWC + name for name in _DARWIN_CORE},
    **{name: DC + name for name in _DUBLIN_CORE},
    **{name: GBIF + name for name in ("gbifID", "datasetKey")},
    "caption": AC + "caption",
    "sha256": AC + "hashValue",
    "img_width": EXIF + "PixelXDimension",
    "img_height": EXIF + "PixelYDimension",
}
"""Column -> address of the standard term that it is. Columns of our own have none."""


class NotPublishable(TaxaforgeError):
    """The tables contradict each other, or nothing may be released."""


def published(
    metadata: str | Path, splits: str | Path, classes: str | Path, licences: Sequence[str]
) -> tuple[list[dict], list[dict]]:
    """(rows that may be published, rows that may not), of schema PUBLISHED.

    Both sorted by species and identifier, whatever the order of the tables.

    Args:
        metadata, splits: the tables of `curate` and `split`.
        classes: classes.json; position = label.
        licences: ids under which a picture may be published, from whatever source it is.
    Raises: NotPublishable where a picture has no split, no class, or a split has no picture.
    """
    return released(rows(tables.read(METADATA, metadata), tables.read(SPLITS, splits), read_json(classes)), licences)


def released(table: Sequence[dict], licences: Sequence[str]) -> tuple[list[dict], list[dict]]:
    """As `published`, from the rows of all pictures.

    A group that has the name of a picture which stays behind takes the smallest name among those that go:
    an address of something private is no name to publish.
    """
    withheld = [row for row in table if row["license"] not in licences]
    private = {row["identifier"] for row in withheld}
    free = [row for row in table if row["license"] in licences]
    name: dict[str, str] = {}
    for row in free:
        name[row["split_group"]] = min(row["identifier"], name.get(row["split_group"], row["identifier"]))
    return [
        row | {"split_group": name[row["split_group"]]} if row["split_group"] in private else row for row in free
    ], withheld


def rows(pictures: Sequence[Mapping], splits: Sequence[Mapping], classes: Sequence[Mapping]) -> list[dict]:
    """As `published`, from rows."""
    label = {record["species"]: number for number, record in enumerate(classes)}
    dealt = {row["identifier"]: row for row in splits}
    _agree(
        {row["identifier"] for row in pictures}, set(dealt), {row["scientificName"] for row in pictures} - set(label)
    )
    table = []
    for row in sorted(pictures, key=lambda row: (row["scientificName"], row["identifier"])):
        number = label[row["scientificName"]]
        taxon, own = classes[number], dealt[row["identifier"]]
        table.append(
            {name: row[name] for name in PUBLISHED.columns if name in row}
            | {name: taxon.get(name) for name in ("taxonID", "vernacularName", *RANKS)}
            | {"split": own["split"], "split_group": own["group"], "label": number, "taxonRank": "species"}
            | {"type": "StillImage", "format": MIME[Path(row["file_name"]).suffix[1:]]}
        )
    return [{name: row[name] for name in PUBLISHED.columns} for row in table]


def _agree(pictures: set[str], dealt: set[str], strangers: set[str]) -> None:
    again = "Run the rules curate_images and split_images again."
    if strangers:
        raise NotPublishable(f"Pictures carry a species that is no class of this run: {min(strangers)!r}. {again}")
    for one, other, what in ((pictures, dealt, "has no split"), (dealt, pictures, "has a split, but is no picture")):
        if lost := one - other:
            raise NotPublishable(f"{len(lost)} of {len(one)} pictures: {min(lost)!r} {what}. {again}")
