"""Section `taxa`: which species."""

from pydantic import Field

from taxaforge.config.base import Section


class Taxa(Section):
    """The species list."""

    path: str = Field(
        "config/taxa/default.csv",
        description="CSV with `scientificName` and optional Darwin Core hints (kingdom ... genus, scientificNameAuthorship, "
        "vernacularName). Relative to the working directory, else to the workflow. Its content is part of every key.",
    )
