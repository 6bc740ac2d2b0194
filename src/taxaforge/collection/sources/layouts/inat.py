"""Layout `inat`: iNaturalist 2021 as it is distributed: train.json or train_mini.json, val.json, and their pictures.

From the competition's description (github.com/visipedia/inat_comp @4ea5638, 2021/README.md): COCO's format with
`images` (file_name, license, rights_holder, date, latitude, longitude, location_uncertainty in metres),
`categories` (name, common_name, kingdom .. genus, specific_epithet), `annotations` (image_id, category_id) and
`licenses` (id, name, url). Coordinates may be null (nan in older files); uncertainties may be nonsense such as
-80. Pictures unpack to <split>/<category>/<file>. The test set has no labels and is not read.

The files name no observation and no observer. iNaturalist's pictures are their observer's, so the rights holder is
taken for the observer: else nothing could keep the pictures of one person, or of one observation, together.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from taxaforge.collection.sources.layouts import Picture, UnreadableTable
from taxaforge.collection.sources.licences import spdx

PIECE = 1 << 20
"""Characters read at a time: train.json has 2.7 million pictures and is never in memory whole."""

LARGEST = 1 << 24
"""Characters after which a value that cannot be read is taken for broken, not for unfinished."""


def root(base: Path) -> Path:
    """`base` itself. Raises: UnreadableTable where no annotations lie in it."""
    if not _files(base):
        raise UnreadableTable(
            f"{base} is no iNaturalist 2021 dataset: it has no train.json, train_mini.json or val.json. "
            "Unpack the annotations there, and the pictures beside them."
        )
    return base


def pictures(base: Path, cfg: Mapping) -> Iterator[Picture]:
    """In the order of the files, train first. Labels: the scientific name of the category."""
    for file, split in _files(base):
        names, licences, category_of = {}, {}, {}
        for key, entry in objects(file, {"categories", "licenses", "annotations"}):
            if key == "categories":
                names[entry["id"]] = entry["name"]
            elif key == "licenses":
                written = entry.get("url") or entry.get("name") or None
                licences[entry["id"]] = {"license": spdx(written) or written, "licenseVerbatimMedia": written}
            else:
                category_of[entry["image_id"]] = entry["category_id"]
        for _, image in objects(file, {"images"}):
            name = names.get(category_of.get(image["id"]))
            if name is None:
                raise UnreadableTable(f"{file}: image {image['id']} has no annotation or no category.")
            known = _known(image) | licences.get(image.get("license"), {}) | {"officialSplit": split}
            yield Picture(image["file_name"], (name,), known, f"{file.name}:{image['id']}")


def _files(base: Path) -> list[tuple[Path, str]]:
    """train_mini is part of train: only the larger that is there counts."""
    train = next((file for file in (base / "train.json", base / "train_mini.json") if file.is_file()), None)
    val = base / "val.json"
    return ([(train, "train")] if train else []) + ([(val, "validation")] if val.is_file() else [])


def _known(image: Mapping) -> dict[str, object]:
    holder = (image.get("rights_holder") or "").strip() or None
    uncertainty = _finite(image.get("location_uncertainty"))
    return {
        "datasetKey": "iNaturalist 2021",
        "recordedBy": holder,
        "rightsHolder": holder,
        "eventDate": (image.get("date") or "").strip().replace(" ", "T", 1) or None,
        "decimalLatitude": _finite(image.get("latitude")),
        "decimalLongitude": _finite(image.get("longitude")),
        "coordinateUncertaintyInMeters": uncertainty if uncertainty is not None and uncertainty >= 0 else None,
    }


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def objects(file: Path, keys: set[str]) -> Iterator[tuple[str, dict]]:
    """(key, object) for the objects of the lists at `keys` of the file's one outer object, one at a time.

    Reads the file in pieces; holds one piece and one object. Raises: UnreadableTable where the file is no such JSON.
    """
    decoder, missing = json.JSONDecoder(), set(keys)
    try:
        with file.open(encoding="utf-8") as text:
            cursor = _Cursor(text)
            cursor.expect("{")
            while missing and cursor.next_is('"'):
                name = cursor.value(decoder)
                cursor.expect(":")
                if name in missing:
                    missing.remove(name)
                    for element in _elements(cursor, decoder):
                        yield name, element
                else:
                    cursor.skip(decoder)
                if cursor.next_is(","):
                    cursor.expect(",")
    except (OSError, ValueError) as error:
        raise UnreadableTable(f"{file} cannot be read as iNaturalist 2021 annotations ({error}).") from None
    if missing:
        raise UnreadableTable(f"{file} has no {' and no '.join(sorted(missing))}: it is no file of iNaturalist 2021.")


def _elements(cursor: "_Cursor", decoder: json.JSONDecoder) -> Iterator[dict]:
    cursor.expect("[")
    while not cursor.next_is("]"):
        yield cursor.value(decoder)
        if cursor.next_is("]"):
            break
        cursor.expect(",")
    cursor.expect("]")


class _Cursor:
    """A place in a JSON text that is read piece by piece."""

    def __init__(self, text):
        self.text, self.buffer, self.at = text, "", 0

    def _more(self) -> bool:
        piece = self.text.read(PIECE)
        self.buffer, self.at = self.buffer[self.at :] + piece, 0
        return bool(piece)

    def next_is(self, character: str) -> bool:
        """Whether the next character that is no space is this one; it is not consumed."""
        while True:
            while self.at < len(self.buffer) and self.buffer[self.at].isspace():
                self.at += 1
            if self.at < len(self.buffer):
                return self.buffer[self.at] == character
            if not self._more():
                raise ValueError("it ends too early")

    def expect(self, character: str) -> None:
        if not self.next_is(character):
            raise ValueError(f"{self.buffer[self.at]!r} where {character!r} should be")
        self.at += 1

    def value(self, decoder: json.JSONDecoder):
        """The next value; a number is only believed once something follows it."""
        self.next_is("")
        while True:
            try:
                found, end = decoder.raw_decode(self.buffer, self.at)
                if end < len(self.buffer):
                    self.at = end
                    return found
            except ValueError:
                if len(self.buffer) - self.at > LARGEST:
                    raise
            if not self._more():
                raise ValueError("it ends too early")

    def skip(self, decoder: json.JSONDecoder) -> None:
        """Passes the next value; a list is passed element by element."""
        if self.next_is("["):
            for _ in _elements(self, decoder):
                pass
        else:
            self.value(decoder)
