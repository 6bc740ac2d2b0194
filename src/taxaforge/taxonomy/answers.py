"""What a source of names answers, in one form for all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Usage:
    """A name as a checklist uses it.

    key: "<checklist>:<key>" of this name. canonical: without author. rank: lower case.
    status: upper case, as GBIF writes it (ACCEPTED, SYNONYM, MISAPPLIED ...).
    lineage: rank -> name of the *accepted* taxon, missing ranks absent; its "species" is the label.
    species_key: "<checklist>:<key>" of that species, "" where the taxon is above the species.
    """

    key: str
    canonical: str
    author: str
    rank: str
    status: str
    lineage: Mapping[str, str]
    species_key: str = ""

    def __str__(self) -> str:
        place = " > ".join(
            self.lineage[rank] for rank in ("kingdom", "order", "family", "species") if rank in self.lineage
        )
        return (
            f"{self.canonical} {self.author}".strip() + f" ({self.rank}, {self.status.lower()}, {place}) [{self.key}]"
        )


@dataclass(frozen=True)
class Evidence:
    """Where an answer is from, so that it can be had again.

    request: path and canonical parameters. checklist: "col_xr", "gbif_backbone", "" where none was asked for.
    release: of the checklist's index, None where the service did not say. retrievedAt: UTC, ISO 8601.
    tries: attempts until it came. sha256: of the body, its name in the store.
    """

    request: str
    checklist: str
    release: str | None
    retrievedAt: str
    tries: int
    sha256: str


@dataclass(frozen=True)
class Answer:
    """best: what the source settles on, None for no match. others: what it considered besides.

    bests: what else it settles on: where it was asked again with less, or where several names are equally good.
    match_type, confidence: the source's own words, kept for the reader; nothing is decided by them.
    evidence: one for each question that it took; none where no service was asked.
    """

    best: Usage | None = None
    others: tuple[Usage, ...] = ()
    match_type: str | None = None
    confidence: float | None = None
    similar: tuple[str, ...] = field(default=())
    evidence: tuple[Evidence, ...] = ()
    bests: tuple[Usage, ...] = ()

    @property
    def usages(self) -> tuple[Usage, ...]:
        return (*((self.best,) if self.best else ()), *self.others)

    @property
    def settled(self) -> tuple[Usage, ...]:
        """What the source itself would take; it only lists the other usages, and may have refused them."""
        return (*((self.best,) if self.best else ()), *self.bests)
