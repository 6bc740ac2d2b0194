"""Section `taxonomy`: who says what a name means, and which answers are good enough for a label."""

from typing import Literal

from pydantic import Field

from taxaforge.config.base import Section

Acceptable = Literal[
    "exact_accepted", "exact_synonym", "orthographic_variant", "rolled_up_to_species", "provisional", "misapplied"
]


class Taxonomy(Section):
    """Name resolution."""

    source: Literal["snapshot", "archive", "list", "gbif"] = Field(
        "snapshot",
        description="`snapshot`: the table below, no network. `archive`: a checklist of your own, no network. `list`: nobody is "
        "asked, the list's own columns are the lineage; for drawn specimens of any names. `gbif`: the name service, base "
        "address from GBIF_API_BASE.",
    )
    snapshot: str = Field(
        "config/taxa/snapshot.csv", description="Offline taxonomy: one row a name, with its accepted name and lineage."
    )
    archive: str = Field(
        "",
        description="Darwin Core archive (zip) or its taxon table (CSV, TSV), such as a checklist downloaded from GBIF or "
        "ChecklistBank.",
    )
    checklist: Literal["col_xr", "gbif_backbone"] = Field(
        "col_xr",
        description="Checklist that GBIF is asked for; part of every taxonID. `col_xr`: Catalogue of Life XR, current; "
        "`gbif_backbone`: frozen at August 2023.",
    )
    cross_check: bool = Field(
        True,
        description="Ask GBIF's other checklist too: column `agreement` says where they differ, and ranks that one leaves out "
        "are filled from the other.",
    )
    accept: list[Acceptable] = Field(
        ["exact_accepted", "exact_synonym", "orthographic_variant", "rolled_up_to_species"],
        description="The policy: statuses that give a name its species. All others go to review.csv. Judging again under "
        "another policy asks nobody.",
    )
    overrides: str = Field(
        "",
        description="CSV of decisions made by a person over review.csv: who, when, why. Its columns are in docs/names.md.",
    )
    offline: bool = Field(
        False,
        description="Answer from `network.store` alone; a question that is not in it stops the run and is named. In no key.",
    )
