"""What the taxonomy room hands over: one row an input name, the list for review, the closed list of statuses."""

from taxaforge.tables import Column, Schema

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
"""Darwin Core ranks that a lineage carries, coarse to fine."""

POLICY = frozenset({"exact_accepted", "exact_synonym", "orthographic_variant", "rolled_up_to_species"})
"""Statuses that name one accepted species and give a label unless `taxonomy.accept` says otherwise."""

STATUSES = POLICY | {
    "rolled_up_to_genus",
    "higher_only",
    "provisional",
    "misapplied",
    "ambiguous_homonym",
    "hint_conflict",
    "fuzzy_other_genus",
    "no_match",
    "excluded_name_type",
    "empty",
    "override",
    "transport_error",
}
"""Every input name ends in exactly one of these."""

TAXA = Schema(
    "taxa",
    ("row",),
    {
        "row": Column("int64", "Place in the species list, 1 is the first name."),
        "verbatimName": Column("string", "The name as it stands in the list."),
        "status": Column("string", "One of taxonomy.schema.STATUSES."),
        "computedStatus": Column("string", "The status before a person's override; else the same."),
        "label": Column("bool", "True: names one accepted species and may be used as a class."),
        "taxonID": Column("string", '"<checklist>:<key>" of the accepted species.', nullable=True),
        "scientificName": Column("string", "Accepted species, binomial without author.", nullable=True),
        "taxonRank": Column("string", '"species" where there is a label.', nullable=True),
        **{rank: Column("string", f"{rank.capitalize()} of the accepted species.", nullable=True) for rank in RANKS},
        "reason": Column("string", "Why this status, in a sentence."),
        "source": Column("string", "Who was asked: snapshot, archive, list, col_xr or gbif_backbone."),
        "lineageSource": Column(
            "string",
            "Where the lineage is from: that source, or `list`, or `name_only` (genus from the name).",
            nullable=True,
        ),
        "filledFrom": Column(
            "string", "Ranks filled from the other checklist, `rank=checklist` joined by `; `.", nullable=True
        ),
        "agreement": Column(
            "string", "The other checklist: agree, differ, only_one, neither; empty: not asked.", nullable=True
        ),
        "otherTaxonID": Column("string", "Species that the other checklist means, as taxonID.", nullable=True),
        "otherScientificName": Column("string", "Its name.", nullable=True),
        "matchedKey": Column("string", '"<checklist>:<key>" of the name that the source answered.', nullable=True),
        "matchedName": Column("string", "Name that the source answered, without author.", nullable=True),
        "matchedRank": Column("string", "Rank of that name.", nullable=True),
        "matchedStatus": Column("string", "Taxonomic status of that name.", nullable=True),
        "matchType": Column("string", "The source's own word for the match; decides nothing.", nullable=True),
        "confidence": Column("float64", "The source's own confidence, 0 to 100; decides nothing.", nullable=True),
        "identificationQualifier": Column("string", "Open nomenclature in the name, such as cf.", nullable=True),
        "vernacularName": Column("string", "As given in the list.", nullable=True),
        "hints": Column("string", "Classification given with the name, `rank=name` joined by `; `."),
    },
)

REVIEW = Schema(
    "review",
    ("row",),
    {
        "row": Column("int64", "Place in the species list."),
        "verbatimName": Column("string", "The name as it stands in the list."),
        "status": Column("string", "Why it has no label: one of taxonomy.schema.STATUSES."),
        "reason": Column("string", "The same in a sentence, with what to do."),
        "candidates": Column(
            "string", "What the source offered, `name author (rank, status, lineage) [key]` joined by ` | `."
        ),
        "hints": Column("string", "Classification given with the name, `rank=name` joined by `; `."),
        "candidateSet": Column("string", "Fingerprint of the candidates, for an override; 16 hex digits."),
    },
)

COLLISIONS = Schema(
    "collisions",
    ("row",),
    {
        "taxonID": Column("string", "Species that several rows of the list became."),
        "scientificName": Column("string", "Its accepted name."),
        "row": Column("int64", "Place in the species list."),
        "verbatimName": Column("string", "The name as it stands there."),
        "kind": Column("string", "same_name (the list repeats itself), synonym, variant, infraspecific or accepted."),
    },
)

PROVENANCE = Schema(
    "provenance",
    ("query", "checklist", "request"),
    {
        "query": Column("string", "The name as asked."),
        "checklist": Column("string", "col_xr or gbif_backbone."),
        "request": Column("string", "Path and canonical parameters."),
        "release": Column("string", "Release of the checklist's index; empty: the service did not say.", nullable=True),
        "retrievedAt": Column("string", "UTC time of the answer, ISO 8601."),
        "tries": Column("int64", "Attempts until the answer came."),
        "sha256": Column("string", "Digest of the body; it lies in network.store under this name."),
    },
)
