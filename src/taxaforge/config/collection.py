"""Section `collection`: where images come from and which are fit to use."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from taxaforge.config.base import Section

OPEN = ["CC0-1.0", "CC-PDM-1.0", "CC-BY-4.0", "CC-BY-3.0", "CC-BY-2.5", "CC-BY-2.0"]
"""Licences that ask for no more than the maker's name."""


def _licence(text: str) -> str:
    if not re.fullmatch(
        r"CC0-1\.0|CC-PDM-1\.0|(CC-BY(-NC)?(-ND|-SA)?-([1-4]\.0|2\.[15]))|(LicenseRef-CC-BY(-NC)?(-ND|-SA)?)", text
    ):
        raise ValueError(
            f"{text!r} is no licence id, and would match no picture. Write one such as {', '.join(OPEN[:3])}, CC-BY-NC-4.0, "
            "CC-BY-SA-4.0, or LicenseRef-CC-BY where publishers give no version."
        )
    return text


Licence = Annotated[str, AfterValidator(_licence)]


class Simulated(Section):
    """Specimens drawn from traits that evolve along the taxonomy; nothing is a picture of the real species."""

    images_per_species: int = Field(
        220, ge=4, description="Individuals drawn a species; planted duplicates and unusable files come on top."
    )
    phylogenetic_signal: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Pagel's lambda. 1: relatives look alike; 0: the tree says nothing, the control for taxonomy-aware methods.",
    )
    individual_sd: float = Field(
        0.3,
        ge=0,
        description="Standard deviation of traits within a species; 1 is the spread between species. Higher is harder.",
    )
    nuisance: float = Field(
        0.3, ge=0, le=1, description="Strength of pose, light, background and wear, 0 to 1. Higher is harder."
    )
    images_per_observer: int = Field(
        3, ge=1, description="Pictures a simulated observer takes of a species; they share a group."
    )
    duplicate_share: float = Field(
        0.02, ge=0, lt=0.5, description="Share of planted recompressed duplicates, work for the duplicate check."
    )


class Folder(Section):
    """Photographs on disk: your own with a table, or a public dataset as it is distributed."""

    path: str = Field("", description="Directory of the dataset; the table's `image` paths are relative to it.")
    layout: Literal["table", "cub", "flowers", "inat", "fishnet"] = Field(
        "table",
        description="`table`: the CSV below. `cub`: CUB-200-2011. `flowers`: Oxford 102 Flowers. `inat`: iNaturalist 2021 JSON. "
        "`fishnet`: FishNet. Official splits are read where the dataset has them.",
    )
    table: str = Field(
        "",
        description="For `table`: CSV with `image` and `scientificName`; optional further columns are in docs/curation.md.",
    )
    version: int = Field(1, description="Raise it when pictures or annotations were replaced under the same names.")
    names: str = Field(
        "",
        description="CSV with `label` and `scientificName`: what the dataset's labels mean, where they are no scientific names.",
    )


class Gbif(Section):
    """Images from GBIF occurrence media."""

    images_per_species: int = Field(100, ge=1, description="Images asked for a species, before quality checks.")
    images_per_observer: int = Field(
        10,
        ge=1,
        description="Most images of a species by one observer, so that no single person's style is the species.",
    )
    licences: list[Licence] = Field(
        OPEN,
        description="Media licences that are accepted, such as CC-BY-4.0, or LicenseRef-CC-BY where no version is given. "
        "Unknown licences never are.",
    )
    country: list[str] = Field([], description="ISO 3166 two-letter codes; empty: all countries.")
    year: str = Field("", description="A year `2020` or a range `2015,2024`; empty: all years.")
    basis_of_record: list[str] = Field(
        ["HUMAN_OBSERVATION", "MACHINE_OBSERVATION", "OBSERVATION", "OCCURRENCE"],
        description="Darwin Core basisOfRecord. Add PRESERVED_SPECIMEN for museum material.",
    )
    via: Literal["auto", "search", "download"] = Field(
        "auto",
        description="`search`: page through occurrences, for small runs. `download`: request an archive from GBIF, which gives "
        "a DOI; needs an account in GBIF_USER and GBIF_PASSWORD. `auto`: search up to 5,000 images asked, download above.",
    )
    allow_private_hosts: bool = Field(
        False,
        description="Fetch pictures from addresses of this machine and of private networks, too. A stranger's table could make "
        "you ask them, so only for hosts of your own.",
    )
    archive: str = Field(
        "", description="A Darwin Core archive already downloaded from GBIF, used instead of asking. Empty: none."
    )


class Embedding(Section):
    """Optional features of a timm model: find what hashes cannot."""

    model: str = Field("", description="Name of a timm model; empty: no features.")
    weights: str = Field("", description="Its weights as a safetensors file; empty: timm's own, from the hub.")
    near_duplicate: float = Field(
        0.97, gt=0, le=1, description="Images of at least this cosine similarity are one picture."
    )


class Cap(Section):
    """Most images kept, after quality checks, counted on the accepted species. 0: no limit."""

    images_per_species: int = Field(0, ge=0, description="Images kept a species.")
    images_per_observer: int = Field(0, ge=0, description="Images kept of a species by one observer.")


class Quality(Section):
    """What an image must be to enter. The first check that fails is the reason in rejections.csv."""

    min_side: int = Field(24, ge=1, description="Shorter side in px, after EXIF rotation.")
    max_aspect: float = Field(4.0, ge=1, description="Longest allowed ratio of the sides.")
    min_contrast: float = Field(
        4.0, ge=0, description="Standard deviation of grey values, 0 to 127; below it an image is blank."
    )
    near_duplicate_bits: int = Field(
        28,
        ge=0,
        le=64,
        description="Images whose 256-bit difference hashes differ in at most this many bits are one picture. Higher finds "
        "harder recompressed copies and may take two pictures of one scene for one.",
    )


class Collection(Section):
    """Images, one source a run."""

    source: Literal["simulated", "folder", "gbif"] = Field(
        "simulated", description="Which of the sources below is used."
    )
    size: int = Field(
        32,
        ge=32,
        multiple_of=32,
        description="Side in px at which the generator works; images are cropped square and resized.",
    )
    simulated: Simulated = Simulated()
    folder: Folder = Folder()
    gbif: Gbif = Gbif()
    quality: Quality = Quality()
    embedding: Embedding = Embedding()
    cap: Cap = Cap()
    publish: list[Licence] = Field(
        OPEN,
        description="Licences under which an image enters the published tables and views, besides those in `gbif.licences`. "
        "Other images train and are counted, and stay at home.",
    )
    views: list[Literal["imagefolder", "coco", "webdataset"]] = Field(
        [],
        description="Copies of the collection in other tools' layouts, made with everything else; `snakemake views` makes all.",
    )
