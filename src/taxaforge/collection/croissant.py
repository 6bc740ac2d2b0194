"""The Croissant description: what the files hold, for programs that load data sets by their metadata.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec.html, version 1.0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from taxaforge import __version__
from taxaforge.collection.attribution import licence_url, licences_of
from taxaforge.collection.manifest import PUBLISHED, TERMS

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The vocabulary of the specification; programs compare it word for word."""

TYPES = {"int64": "sc:Integer", "float64": "sc:Float", "bool": "sc:Boolean"}
SPLITS = {
    "train": "cr:TrainingSplit",
    "validation": "cr:ValidationSplit",
    "test": "cr:TestSplit",
    "reserve": None,
    "unused": None,
}
"""Split -> its meaning in the vocabulary, which has no word for the last two."""


def describe(
    rows: Sequence[Mapping], classes: Sequence[Mapping], table: Mapping, description: str, facts: Mapping
) -> dict:
    """The JSON-LD document of the collection, which loads its table at any size.

    No record set reads the pictures: programs open every file of a set, and the folder also holds files that were
    rejected because they do not open. The pixels are in the record sets of `describe_folders`. Where the table is
    empty, so is the collection: its species are all that is described, as a set of no files and records of no type
    would not be valid.

    Args:
        rows: of the published table. classes: classes.json.
        table: name, sha256 and bytes of the table's file, which lies beside the document.
        description: a paragraph. facts: see `publish.describe`.
    """
    head = {"name": facts["name"], "description": description, "version": f"1.0.0+{table['sha256'][:12]}"}
    if not rows:
        return {**_dataset(rows, head, _citation(facts)), "distribution": [], "recordSet": [_classes(classes)]}
    return {
        **_dataset(rows, head, _citation(facts)),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "table",
                "name": table["name"],
                "description": "One row a picture, in Darwin Core and Dublin Core terms.",
                "contentUrl": table["name"],
                "contentSize": f"{table['bytes']} B",
                "encodingFormat": "text/csv",
                "sha256": table["sha256"],
            },
            _files(
                rows,
                "images/*/*",
                "Named by content. Those that the table names are the collection; others were rejected.",
            ),
        ],
        "recordSet": [_splits(rows), _classes(classes), _pictures(rows)],
    }


def describe_folders(rows: Sequence[Mapping], classes: Sequence[Mapping]) -> dict:
    """The JSON-LD document of pictures in folders `<split>/<label>_<species>/<sha256>.<suffix>`, with their pixels.

    Split and label are read from the path, so that a program may fetch the files of one split alone.
    """
    path = {"fileSet": {"@id": "files"}, "extract": {"fileProperty": "fullpath"}}
    split = _field("images", "split", "sc:Text", PUBLISHED.columns["split"].about)
    fields = [
        _field("images", "image", "sc:ImageObject", "the picture")
        | {"source": {"fileSet": {"@id": "files"}, "extract": {"fileProperty": "content"}}},
        _field("images", "sha256", "sc:Text", PUBLISHED.columns["sha256"].about)
        | {"source": path | {"transform": {"regex": r".*/([0-9a-f]{64})\."}}},
        split | {"source": path | {"transform": {"regex": "([^/]+)/.+/.+"}}},
        _field("images", "label", "sc:Integer", PUBLISHED.columns["label"].about)
        | {"source": path | {"transform": {"regex": "[^/]+/0*([0-9]+)_"}}},
    ]
    images = {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "Every picture with its pixels, label and split.",
        "key": {"@id": "images/sha256"},
        "field": fields,
    }
    head = {
        "name": "images",
        "description": f"{len(rows)} pictures of {len(classes)} species in folders.",
        "version": "1.0.0",
    }
    return {
        **_dataset(rows, head, "see ATTRIBUTION.csv, which has a line for each picture"),
        "distribution": [_files(rows, "*/*/*", "One folder a split, in it one a species; named by content.")],
        "recordSet": [_splits(rows), _classes(classes), images],
    }


def _dataset(rows: Sequence[Mapping], head: Mapping, citation: str) -> dict:
    licences = [licence_url(licence) or licence or "unknown" for licence, _ in licences_of(rows)]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        **head,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": list(dict.fromkeys(licences)),
        "citeAs": citation,
        "keywords": ["biodiversity", "taxonomy", "image classification", "Darwin Core"],
    }


def _citation(facts: Mapping) -> str:
    text = f"{facts['name']}, made with taxaforge {__version__}, seed {facts['seed']}"
    if facts.get("doi"):
        return (
            f"{text}, from the GBIF occurrence download https://doi.org/{facts['doi'].removeprefix('https://doi.org/')}"
        )
    if facts["source"] == "gbif":
        return f"{text}, from pictures published through GBIF; datasets in derived_dataset.csv"
    return text


def _files(rows: Sequence[Mapping], pattern: str, about: str) -> dict:
    return {
        "@type": "cr:FileSet",
        "@id": "files",
        "name": "pictures",
        "description": about,
        "encodingFormat": sorted({row["format"] for row in rows}),
        "includes": [f"{pattern}{suffix}" for suffix in sorted({Path(row["file_name"]).suffix for row in rows})],
    }


def _splits(rows: Sequence[Mapping]) -> dict:
    present = {row["split"] for row in rows}
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "What a picture may be used for.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            _field("splits", "name", "sc:Text", "As in the table."),
            _field("splits", "url", "sc:URL", "Meaning."),
        ],
        "data": [{"splits/name": name, "splits/url": url} for name, url in SPLITS.items() if name in present],
    }


def _classes(classes: Sequence[Mapping]) -> dict:
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "description": "Species in the order of their labels.",
        "dataType": "sc:Enumeration",
        "key": {"@id": "classes/label"},
        "field": [
            _field("classes", "label", "sc:Integer", PUBLISHED.columns["label"].about),
            _field("classes", "name", "sc:Text", PUBLISHED.columns["scientificName"].about),
        ],
        "data": [{"classes/label": number, "classes/name": record["species"]} for number, record in enumerate(classes)],
    }


def _pictures(rows: Sequence[Mapping]) -> dict:
    fields = []
    for name, column in PUBLISHED.columns.items():
        field = _field("pictures", name, _type(name, rows), column.about) | {"source": _column(name)}
        if name == "split":
            field["references"] = {"field": {"@id": "splits/name"}}
        fields.append(field)
    return {
        "@type": "cr:RecordSet",
        "@id": "pictures",
        "name": "pictures",
        "description": "Every picture of the collection with what is known about it; no pixels.",
        "key": {"@id": "pictures/identifier"},
        "field": fields,
    }


def _field(record_set: str, name: str, kind: str, about: str) -> dict:
    term = [TERMS[name]] if record_set == "pictures" and name in TERMS else []
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "description": about,
        "dataType": [kind, *term] if term else kind,
    }


def _column(name: str) -> dict:
    return {"fileObject": {"@id": "table"}, "extract": {"column": name}}


def _type(name: str, rows: Sequence[Mapping]) -> str:
    """The type as which a program that guesses types from a CSV file can give the values back.

    A text column that holds nothing but whole numbers, such as gbifID, is read as numbers; with one empty cell
    among them as fractions. Declared as integers both come back as they were.
    """
    column = PUBLISHED.columns[name]
    if column.type != "string":
        return TYPES[column.type]
    values = [row[name] for row in rows if row[name] is not None]
    whole = all(
        value.isascii() and value.isdigit() and str(int(value)) == value and len(value) < 16 for value in values
    )
    return "sc:Integer" if values and whole else "sc:Text"
