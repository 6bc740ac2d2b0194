"""Section `taxonomy`: who says what a name means."""

from typing import Literal

from pydantic import Field

from taxaforge.config.base import Section


class Taxonomy(Section):
    """Name resolution."""

    source: Literal["snapshot", "gbif"] = Field(
        "snapshot",
        description="`snapshot`: the table below, no network. `gbif`: the name service, base address from GBIF_API_BASE.",
    )
    snapshot: str = Field(
        "config/taxa/snapshot.csv", description="Offline taxonomy: one row a name, with its accepted name and lineage."
    )
    checklist: Literal["col_xr", "gbif_backbone"] = Field(
        "col_xr",
        description="Checklist that GBIF is asked for; part of every taxonID. `col_xr`: Catalogue of Life XR, current; "
        "`gbif_backbone`: frozen at August 2023.",
    )
    timeout_s: float = Field(
        30.0, gt=0, description="Seconds to wait for one answer of the name service before a retry."
    )
    tries: int = Field(6, ge=1, description="Attempts a request before the name is marked `transport_error`.")
    contact: str = Field(
        "", description="Address or page of whoever runs this, sent in the User-Agent so that GBIF can reach you."
    )
