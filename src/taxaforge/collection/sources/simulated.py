"""Source `simulated`: specimens drawn from traits that evolve along the taxonomy.

A measuring instrument, not a picture of the real species: the truth behind every difference is known.
Every random number belongs to (collection seed, taxonID, k, factor), so that adding a species or
drawing more individuals changes no other picture. Work for the curation is planted and countable:
`planted` says how much.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
from PIL import Image

from taxaforge.collection.appearance import TRAITS, describe, looks
from taxaforge.collection.draw import SIDE
from taxaforge.collection.scene import draw_scene, photograph
from taxaforge.collection.sources import Candidate
from taxaforge.collection.traits import species_traits
from taxaforge.progress import Progress
from taxaforge.seeds import seed_of

LICENCES = ("CC0-1.0", "CC-BY-4.0", "CC-BY-4.0")
FAILURES = 3
"""Planted a species: one picture that is gone, one that breaks off in the middle, one blank frame."""


def planted(cfg: Mapping) -> dict[str, int]:
    """Candidates a species by kind; they add up to all that `candidates` yields for it."""
    drawn = cfg["images_per_species"]
    return {"drawn": drawn, "recompressed": round(drawn * cfg["duplicate_share"]), "unusable": FAILURES}


def candidates(classes: Sequence[Mapping], cfg: Mapping, seed: int) -> Iterator[Candidate]:
    """`images_per_species` individuals a species, then its planted duplicates and unusable files.

    Args:
        classes: lineage records, as in classes.json.
        cfg: section collection.simulated.
        seed: of the collection.
    """
    progress = Progress("drawing specimens", len(classes) * cfg["images_per_species"], "images")
    for number, record in enumerate(classes):
        species = _Species(record, cfg, seed)
        for k in range(cfg["images_per_species"]):
            yield species.individual(k)
            progress(number * cfg["images_per_species"] + k + 1)
        for k in range(planted(cfg)["recompressed"]):
            yield species.recompressed(k)
        yield from species.unusable()


class _Species:
    """The means of one species and the pictures that its observers take."""

    def __init__(self, record: Mapping, cfg: Mapping, seed: int):
        self.name, self.taxon, self.cfg, self.seed = record["species"], record["taxonID"], cfg, seed
        self.mean = species_traits(record, cfg["phylogenetic_signal"], seed, len(TRAITS))

    def _seed(self, k: int | str, factor: str) -> int:
        return seed_of(self.seed, self.taxon, k, factor)

    def _candidate(self, k: int) -> tuple[Candidate, np.ndarray]:
        rng = np.random.default_rng(self._seed(k, "individual"))
        drawn = looks(self.mean + self.cfg["individual_sd"] * rng.standard_normal(len(TRAITS)))
        pixels = photograph(drawn, draw_scene(self._seed(k, "scene"), self.cfg["nuisance"]))
        visit = k // self.cfg["images_per_observer"]
        rng = np.random.default_rng(self._seed(visit, "visit"))
        number = int(rng.integers(1, 1000))
        observer = f"Simulated observer {number:03d}"
        home = np.random.default_rng(seed_of(self.seed, "home", number)).uniform((45, 5), (50, 15))
        day = date(2020, 1, 1) + timedelta(days=int(rng.integers(0, 1800)))
        record = Candidate(
            identifier=f"sim:{self.taxon}:{k:04d}",
            scientificName=self.name,
            verbatimScientificName=self.name,
            datasetKey="simulated",
            recordedBy=observer,
            eventDate=day.isoformat(),
            decimalLatitude=round(float(home[0]), 4),
            decimalLongitude=round(float(home[1]), 4),
            coordinateUncertaintyInMeters=100.0,
            license=LICENCES[int(rng.integers(len(LICENCES)))],
            creator=observer,
            rightsHolder=observer,
            caption=describe(drawn),
        )
        return record, pixels

    def individual(self, k: int) -> Candidate:
        record, pixels = self._candidate(k)
        return replace(record, content=_encode(pixels, "PNG"))

    def recompressed(self, k: int) -> Candidate:
        """A second publication of one of the pictures, as a JPEG and under another observer's name."""
        of = seed_of(self.seed, self.taxon, k, "copied") % self.cfg["images_per_species"]
        record, pixels = self._candidate(of)
        return replace(
            record,
            identifier=f"{record.identifier}:copy{k}",
            content=_encode(pixels, "JPEG"),
            recordedBy=None,
            eventDate=None,
            decimalLatitude=None,
            decimalLongitude=None,
            coordinateUncertaintyInMeters=None,
        )

    def unusable(self) -> Iterator[Candidate]:
        base = Candidate(identifier=f"sim:{self.taxon}:gone", scientificName=self.name, license="CC0-1.0")
        yield replace(base, errorCode="not_found")
        whole = _encode(self._candidate(0)[1], "PNG")
        yield replace(base, identifier=f"sim:{self.taxon}:broken", content=whole[: len(whole) // 2])
        grey = np.full((SIDE, SIDE, 3), self._seed("blank", "grey") % 200, dtype=np.uint8)
        yield replace(base, identifier=f"sim:{self.taxon}:blank", content=_encode(grey, "PNG"))


def _encode(pixels: np.ndarray, kind: str) -> bytes:
    out = io.BytesIO()
    options = {"compress_level": 4} if kind == "PNG" else {"quality": 95, "subsampling": 0}
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()
