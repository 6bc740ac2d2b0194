"""The tables of the collection: what each column means, written once."""

from taxaforge.tables import Column, Schema

_ITEM = {
    "identifier": Column("string", "stable id of the picture: relative path, media URL or sim:<taxonID>:<k>"),
    "file_name": Column("string", "path relative to results/collection; empty where there is no file", nullable=True),
    "sha256": Column("string", "hex digest of the file's bytes", nullable=True),
    "scientificName": Column("string", "accepted species"),
    "verbatimScientificName": Column("string", "name as the source gives it", nullable=True),
    "gbifID": Column("string", "GBIF's key of the occurrence", nullable=True),
    "occurrenceID": Column("string", "publisher's or dataset's id of the occurrence", nullable=True),
    "datasetKey": Column("string", "GBIF dataset, or name of the public dataset", nullable=True),
    "basisOfRecord": Column("string", "Darwin Core: HUMAN_OBSERVATION, PRESERVED_SPECIMEN ...", nullable=True),
    "recordedBy": Column("string", "observer; empty is unknown and never joins two pictures", nullable=True),
    "recordedByID": Column("string", "identifier of the observer, such as an ORCID", nullable=True),
    "eventDate": Column("string", "ISO 8601 date, time or interval of the observation", nullable=True),
    "countryCode": Column("string", "ISO 3166 two-letter code", nullable=True),
    "decimalLatitude": Column("float64", "degrees north, WGS 84", nullable=True),
    "decimalLongitude": Column("float64", "degrees east, WGS 84", nullable=True),
    "coordinateUncertaintyInMeters": Column("float64", "m, radius around the coordinates", nullable=True),
    "informationWithheld": Column("string", "what the publisher held back, such as exact coordinates", nullable=True),
    "license": Column("string", "licence of the picture, SPDX id where known", nullable=True),
    "licenseVerbatimMedia": Column("string", "licence as written at the picture", nullable=True),
    "licenseVerbatimRecord": Column("string", "licence as written at the record; decides nothing", nullable=True),
    "creator": Column("string", "who made the picture", nullable=True),
    "rightsHolder": Column("string", "who owns the rights in it", nullable=True),
    "publisher": Column("string", "who published it", nullable=True),
    "references": Column("string", "address of the page about it", nullable=True),
    "officialSplit": Column("string", "train, validation or test, where the dataset has its own split", nullable=True),
    "source": Column("string", "simulated, folder or gbif"),
    "caption": Column("string", "what the picture shows, in words; may be empty"),
    "errorCode": Column("string", "why there is no file; empty: there is one"),
}

CANDIDATES = Schema("candidates", ("identifier",), _ITEM)

METADATA = Schema(
    "metadata",
    ("identifier",),
    {
        **_ITEM,
        "file_name": Column("string", "path relative to results/collection"),
        "sha256": Column("string", "hex digest of the file's bytes"),
        "img_format": Column("string", "format that the bytes show: JPEG, PNG ..."),
        "img_width": Column("int64", "px, after EXIF rotation"),
        "img_height": Column("int64", "px, after EXIF rotation"),
        "img_pixel_sha256": Column("string", "hex digest of the decoded upright RGB pixels"),
        "img_phash": Column("string", "256-bit difference hash, 64 hex digits"),
        "qc_contrast": Column("float64", "standard deviation of grey values, 0 to 127.5"),
        "qc_sharpness": Column("float64", "variance of the Laplacian of grey values at 128 px; low: blurred"),
        "qc_mono": Column("bool", "no colour: a grey picture, drawing or scan"),
        "qc_duplicate_set": Column("string", "smallest identifier among its near duplicates, dropped ones included"),
        "qc_outlier": Column(
            "float64", "cosine distance to its species' mean feature, 0 to 2; for review only", nullable=True
        ),
    },
)

DUPLICATES = Schema(
    "duplicates",
    ("identifier",),
    {
        **_ITEM,
        "qc_duplicate_set": Column("string", "smallest identifier of the set"),
        "qc_duplicate_kind": Column(
            "string", "strongest tie to another member: exact (bytes), pixel, near (hash) or embedding"
        ),
        "kept": Column("bool", "True: this member stays in the collection for all"),
    },
)

REJECTIONS = Schema(
    "rejections",
    ("identifier",),
    {
        "identifier": Column("string", "of the candidate"),
        "scientificName": Column("string", "accepted species"),
        "reason": Column("string", "first reason in the order of quality.CHECKS, or the errorCode of the fetch"),
        "qc_duplicate_set": Column(
            "string", "set of a dropped duplicate; duplicates.parquet has its members", nullable=True
        ),
    },
)

SPLIT_NAMES = ("train", "validation", "test", "reserve", "unused")

SPLITS = Schema(
    "splits",
    ("identifier",),
    {
        "identifier": Column("string", "of the picture"),
        "split": Column("string", "train, validation, test, reserve or unused"),
        "group": Column("string", "smallest identifier among the pictures that must stay together"),
        "scientificName": Column("string", "accepted species"),
    },
)

LEAKAGE = Schema(
    "leakage",
    ("edge", "split_a", "split_b"),
    {
        "edge": Column(
            "string", "what ties two pictures: occurrence, event, observer, block, duplicate_set or same_file"
        ),
        "split_a": Column("string", "split of the one"),
        "split_b": Column("string", "split of the other"),
        "ties": Column("int64", "occurrences, events, observers, blocks, sets or files with pictures in both splits"),
        "images": Column("int64", "pictures of split_b that have such a tie to split_a"),
        "forbidden": Column("bool", "True: split.unit forbids it, ties must be 0"),
    },
)

TAIL = Schema(
    "tail",
    ("scientificName",),
    {
        "scientificName": Column("string", "accepted species"),
        "images": Column("int64", "pictures that passed"),
        "groups": Column("int64", "groups of pictures that must stay together"),
        **{split: Column("int64", f"pictures in {split}") for split in SPLIT_NAMES},
        "short": Column("string", "splits that it could not fill, joined by a space; empty: none"),
    },
)
