"""Source `folder`: photographs on disk, your own with a table or a public dataset as it is distributed."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from taxaforge.collection.sources import Candidate
from taxaforge.collection.sources.layouts import (
    Picture,
    UnreadableTable,
    cub,
    fishnet,
    flowers,
    inat,
    table,
    tabular,
)

__all__ = ["UnreadableTable", "candidates", "folded"]

LAYOUTS = {"cub": cub, "flowers": flowers, "inat": inat, "fishnet": fishnet}


def candidates(classes: Sequence[Mapping], cfg: Mapping, accepted: Mapping[str, str]) -> Iterator[Candidate]:
    """One candidate a picture whose label belongs to the run; the file itself is read by whoever stores it.

    A label belongs to the run if it is, or `collection.folder.names` translates it to, an accepted species, its
    vernacular name or a name of the taxa list. Names are compared as written first, then folded (see `folded`);
    a wording that would mean two species means none. Pictures with other labels are counted and left alone.

    Args:
        classes: lineage records, as in classes.json.
        cfg: section collection.folder: `path`, `layout`, `table`, `names`.
        accepted: verbatim or vernacular name -> accepted species, of the names of the taxa list.
    Raises: UnreadableTable, also where no picture at all belongs to the run.
    """
    base, layout = Path(cfg["path"]), cfg.get("layout") or "table"
    if not base.is_dir():
        raise UnreadableTable(
            f"collection.folder.path {str(base)!r} is no directory. Name the one that holds the images."
        )
    root = base if layout == "table" else LAYOUTS[layout].root(base)
    listed = table.pictures(base, cfg) if layout == "table" else LAYOUTS[layout].pictures(root, cfg)
    where = Path(cfg["table"]).name if layout == "table" else str(root)
    species_of, resolved = _Names(classes, accepted, _translation(cfg)), root.resolve()
    others: Counter[str] = Counter()
    found = 0
    for picture in listed:
        species, verbatim = species_of(picture.labels)
        if species is None:
            others[verbatim] += 1
            continue
        found += 1
        yield _candidate(picture, species, verbatim, resolved)
    if others and not found:
        raise UnreadableTable(
            f"{where}: none of {others.total()} pictures shows a species of the run; they are labelled {_first(others)}. "
            "Put these names into the taxa list (columns scientificName, vernacularName), or say in a CSV named by "
            "`collection.folder.names` (columns label, scientificName) what they mean."
        )
    if others:
        print(
            f"{where}: {others.total()} rows of {len(others)} names outside the taxa list left alone ({_first(others)}...)"
        )


def folded(name: str) -> str:
    """A name without accents, case and punctuation, for comparing what different people wrote.

    >>> folded("Chuck-will’s-widow"), folded("Black_footed  Albatross")
    ('chuck wills widow', 'black footed albatross')
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).casefold()
    return " ".join(re.findall(r"\w+", re.sub(r"['’‘ʼ`]", "", plain).replace("_", " ")))


class _Names:
    """What a label means: `species, the name it was understood as`, or None and the label."""

    def __init__(self, classes: Sequence[Mapping], accepted: Mapping[str, str], translation: Mapping[str, str]):
        species = {record["species"] for record in classes}
        written = {" ".join(name.split()): to for name, to in accepted.items() if to in species}
        common = {record["vernacularName"]: record["species"] for record in classes if record.get("vernacularName")}
        self.exact = written | {name: name for name in species}
        self.loose: dict[str, str | None] = {}
        for name, to in [*common.items(), *self.exact.items()]:
            # CUB-200-2011 writes Anna_Hummingbird for Anna's Hummingbird, but Forsters_Tern.
            for form in {folded(name), folded(re.sub(r"['’‘ʼ`]s\b", "", name))}:
                self.loose[form] = to if self.loose.get(form, to) == to else None
        self.translation = dict(translation)
        self.folded_translation = {folded(label): name for label, name in translation.items()}
        self.known: dict[tuple[str, ...], tuple[str | None, str]] = {}  # a dataset repeats its labels

    def __call__(self, labels: tuple[str, ...]) -> tuple[str | None, str]:
        if labels not in self.known:
            self.known[labels] = self._meant(labels)
        return self.known[labels]

    def _meant(self, labels: tuple[str, ...]) -> tuple[str | None, str]:
        translated = [self.translation[label] for label in labels if label in self.translation]
        translated += [self.folded_translation[f] for f in map(folded, labels) if f in self.folded_translation]
        for name in (*translated[:1], *labels):
            species = self.exact.get(name) or self.loose.get(folded(name))
            if species:
                return species, name
        return None, next(iter((*translated, *labels)), "")


def _translation(cfg: Mapping) -> dict[str, str]:
    """label -> scientific name, from the table `names`; nothing where none is set."""
    if not cfg.get("names"):
        return {}
    out: dict[str, str] = {}
    file = Path(cfg["names"])
    for number, row in tabular.rows(file, ("label", "scientificName"), "collection.folder.names"):
        label, name = " ".join(row["label"].split()), " ".join(row["scientificName"].split())
        if out.get(label, name) != name:
            raise UnreadableTable(f"{file}, row {number}: label {label!r} is {name!r} here and {out[label]!r} before.")
        if label and name:
            out[label] = name
    return out


def _candidate(picture: Picture, species: str, verbatim: str, root: Path) -> Candidate:
    file, error = _inside(root, picture.image)
    return Candidate(
        identifier=picture.image or picture.row,
        scientificName=species,
        content=file,
        errorCode=error,
        verbatimScientificName=verbatim,
        **picture.fields,
    )


def _first(names: Counter[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)[:3])


def _inside(root: Path, image: str) -> tuple[Path | None, str]:
    """The file and "", or None and the reason. A path that leads out of the folder is refused."""
    if not image:
        return None, "no_path"
    try:
        file = (root / image).resolve()
        if not file.is_relative_to(root):
            return None, "outside_folder"
        return (file, "") if file.is_file() else (None, "not_found")
    except (OSError, ValueError):  # a name that no file system takes
        return None, "not_found"
