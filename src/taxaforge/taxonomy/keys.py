"""The one form in which a taxon's key may travel: checklist and key together, always text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from taxaforge.errors import TaxaforgeError

CHECKLISTS = {
    "col_xr": "7ddf754f-d193-4cc9-b351-99906754a03b",
    "gbif_backbone": "d7dddbf4-2cf0-4f39-9b2a-bb099caae36c",
}
"""Catalogue of Life eXtended Release (alphanumeric keys) and GBIF Backbone (numeric). Sent with every request:
server and pygbif have different defaults, and a key asked of the wrong checklist finds nothing, silently."""

_FORMS = {"col_xr": re.compile(r"[0-9A-Z]+"), "gbif_backbone": re.compile(r"[0-9]+")}
_NEVER_COL = re.compile(r"[0-9]*[01][0-9]*")
"""COL writes its keys in an alphabet without 0, 1 and vowels: such a number is a Backbone key that lost its checklist."""


class BadTaxonKey(TaxaforgeError):
    """Not a key of a taxon, or nobody can say of which checklist."""


@dataclass(frozen=True)
class TaxonKey:
    """A taxon of one checklist; the only thing that an occurrence search is asked with.

    >>> TaxonKey.parse("col_xr:Q2M4")
    TaxonKey(checklist='col_xr', key='Q2M4')
    >>> str(TaxonKey("gbif_backbone", "5133088"))
    'gbif_backbone:5133088'
    """

    checklist: str
    key: str

    def __post_init__(self):
        # The exact type: a number read by pandas looks the same in print and means another taxon, or none.
        if type(self.checklist) is not str or type(self.key) is not str:
            given = next(value for value in (self.checklist, self.key) if type(value) is not str)
            raise BadTaxonKey(f"A taxon key is text, not {type(given).__name__} {given!r}. {_REMEDY}")
        if self.checklist not in CHECKLISTS:
            raise BadTaxonKey(f"{self.checklist!r} is no checklist of GBIF ({', '.join(CHECKLISTS)}). {_REMEDY}")
        if not _FORMS[self.checklist].fullmatch(self.key):
            raise BadTaxonKey(f"{self.key!r} is no key of {self.checklist}. {_REMEDY}")
        if self.checklist == "col_xr" and _NEVER_COL.fullmatch(self.key):
            raise BadTaxonKey(f"{self.key} is a key of gbif_backbone, not of col_xr. {_REMEDY}")

    @classmethod
    def parse(cls, text: object) -> "TaxonKey":
        """From a taxonID, "<checklist>:<key>". Raises: BadTaxonKey for anything else, numbers above all."""
        if type(text) is not str:
            raise BadTaxonKey(f"A taxon key is text, not {type(text).__name__} {text!r}. {_REMEDY}")
        checklist, colon, key = text.partition(":")
        if not colon:
            raise BadTaxonKey(f"{text!r} does not say which checklist it is of. {_REMEDY}")
        return cls(checklist, key)

    @property
    def checklist_key(self) -> str:
        """The checklist's own identifier, for the parameter `checklistKey`."""
        return CHECKLISTS[self.checklist]

    def __str__(self) -> str:
        return f"{self.checklist}:{self.key}"


def checklist_of(params: Mapping) -> str:
    """The checklist that a request names, "" where it names none that we know."""
    return next((name for name, key in CHECKLISTS.items() if key == params.get("checklistKey")), "")


def refuse_loose_keys(params: Mapping) -> None:
    """Raises: BadTaxonKey unless each taxon key of a request is text and fits the checklist that is named beside it."""
    for name, value in params.items():
        # GBIF reads the parameter in any case, and with dots, dashes and underscores.
        if re.sub(r"[._-]", "", name).lower() == "taxonkey" and value is not None:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                TaxonKey(checklist_of(params), one)


_REMEDY = (
    "GBIF finds nothing for a key of the wrong checklist, without a word. Write `col_xr:Q2M4` or `gbif_backbone:5133088`; "
    "names resolved with `taxonomy.source: gbif` carry such keys."
)
