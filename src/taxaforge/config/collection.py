"""Section `collection`: where images come from and which are fit to use."""

from typing import Literal

from pydantic import Field

from taxaforge.config.base import Section


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
    """Photographs of your own."""

    path: str = Field("", description="Directory that the table's `image` paths are relative to.")
    table: str = Field(
        "",
        description="CSV with `image` and `scientificName`; optional `recordedBy`, `eventDate`, `license`, `rightsHolder`, `caption`.",
    )


class Gbif(Section):
    """Images from GBIF occurrence media."""

    images_per_species: int = Field(100, ge=1, description="Images asked for a species, before quality checks.")
    licences: list[str] = Field(
        ["CC0-1.0", "CC-BY-4.0", "CC-BY-3.0", "CC-BY-2.0"],
        description="Media licences that are accepted. Unknown licences never are.",
    )
    timeout_s: float = Field(30.0, gt=0, description="Seconds to wait for one image.")


class Quality(Section):
    """What an image must be to enter. The first check that fails is the reason in rejections.csv."""

    min_side: int = Field(24, ge=1, description="Shorter side in px, after EXIF rotation.")
    max_aspect: float = Field(4.0, ge=1, description="Longest allowed ratio of the sides.")
    min_contrast: float = Field(
        4.0, ge=0, description="Standard deviation of grey values, 0 to 127; below it an image is blank."
    )
    near_duplicate_bits: int = Field(
        20,
        ge=0,
        le=32,
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
