"""The tables of the collection: what each column means, written once."""

from taxaforge.tables import Column, Schema

_ITEM = {
    "identifier": Column("string", "stable id of the picture: relative path, media URL or sim:<taxonID>:<k>"),
    "file_name": Column("string", "path relative to results/collection; empty where there is no file", nullable=True),
    "sha256": Column("string", "hex digest of the file's bytes", nullable=True),
    "scientificName": Column("string", "accepted species"),
    "verbatimScientificName": Column("string", "name as the source gives it", nullable=True),
    "recordedBy": Column("string", "observer; empty is unknown and never joins two pictures", nullable=True),
    "eventDate": Column("string", "ISO 8601 date, time or interval of the observation", nullable=True),
    "license": Column("string", "licence of the picture, SPDX id where known", nullable=True),
    "rightsHolder": Column("string", "who is to be named", nullable=True),
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
        "img_width": Column("int64", "px, after EXIF rotation"),
        "img_height": Column("int64", "px, after EXIF rotation"),
        "img_phash": Column("string", "256-bit difference hash, 64 hex digits"),
        "qc_contrast": Column("float64", "standard deviation of grey values, 0 to 127.5"),
        "qc_duplicate_set": Column("string", "smallest identifier among its near duplicates, dropped ones included"),
    },
)

REJECTIONS = Schema(
    "rejections",
    ("identifier",),
    {
        "identifier": Column("string", "of the candidate"),
        "scientificName": Column("string", "accepted species"),
        "reason": Column("string", "first reason in the order of quality.CHECKS, or the errorCode of the fetch"),
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
        "edge": Column("string", "what ties two pictures: observation, duplicate_set or same_file"),
        "split_a": Column("string", "split of the one"),
        "split_b": Column("string", "split of the other"),
        "ties": Column("int64", "observations, sets or files that have pictures in both splits; must be 0"),
    },
)
