"""A key of the wrong checklist finds nothing, silently: so none gets as far as a request."""

from decimal import Decimal

import numpy as np
import pytest

from taxaforge.taxonomy.keys import CHECKLISTS, BadTaxonKey, TaxonKey, checklist_of, refuse_loose_keys


@pytest.mark.parametrize(
    "text", ["col_xr:Q2M4", "col_xr:92529", "col_xr:N", "gbif_backbone:5133088", "gbif_backbone:1"]
)
def test_a_taxon_id_becomes_a_key_and_back(text):
    key = TaxonKey.parse(text)
    assert str(key) == text and f"{key.checklist}:{key.key}" == text
    assert key.checklist_key == CHECKLISTS[text.split(":")[0]]
    assert {key, TaxonKey.parse(text)} == {key}


@pytest.mark.parametrize(
    "given, said",
    [
        (5133088, "not int 5133088"),
        (5133088.0, "not float"),
        (np.int64(5133088), "not int64"),
        (np.float64(3.0), "not float64"),
        (np.str_("col_xr:Q2M4"), "not str_"),
        (Decimal(5), "not Decimal"),
        (True, "not bool"),
        (None, "not NoneType"),
        (["col_xr:Q2M4"], "not list"),
        (b"col_xr:Q2M4", "not bytes"),
        ("123", "does not say which checklist"),
        ("Q2M4", "does not say which checklist"),
        ("", "does not say which checklist"),
        ("col:Q2M4", "'col' is no checklist"),
        ("inat:12", "'inat' is no checklist"),
        (":123", "'' is no checklist"),
        ("col_xr:", "'' is no key of col_xr"),
        ("col_xr:q2m4", "'q2m4' is no key of col_xr"),
        ("col_xr:Q2M4 ", "'Q2M4 ' is no key"),
        ("gbif_backbone:Q2M4", "'Q2M4' is no key of gbif_backbone"),
        ("gbif_backbone:123.0", "'123.0' is no key"),
        ("gbif_backbone:-1", "'-1' is no key"),
        ("gbif_backbone:١٢", "is no key"),
        ("col_xr:5133088", "a key of gbif_backbone, not of col_xr"),
    ],
)
def test_anything_else_is_refused_with_a_remedy(given, said):
    with pytest.raises(BadTaxonKey, match=said) as caught:
        TaxonKey.parse(given)
    assert "col_xr:Q2M4" in str(caught.value)


def test_the_constructor_refuses_what_parsing_refuses():
    for checklist, key in (("gbif_backbone", 5133088), ("col_xr", np.str_("Q2M4")), ("", "Q2M4"), (None, "Q2M4")):
        with pytest.raises(BadTaxonKey):
            TaxonKey(checklist, key)


@pytest.mark.parametrize("spelt", ["taxonKey", "taxonkey", "taxon_key", "TAXON_KEY", "taxon.key"])
@pytest.mark.parametrize("value", [5133088, np.int64(5133088), 5133088.0, "5133088", ["Q2M4", 5133088], "Q2M4x"])
def test_no_loose_key_passes_in_any_spelling_of_the_parameter(spelt, value):
    with pytest.raises(BadTaxonKey):
        refuse_loose_keys({spelt: value, "checklistKey": CHECKLISTS["col_xr"]})


def test_a_key_needs_its_checklist_beside_it():
    with pytest.raises(BadTaxonKey, match="'' is no checklist"):
        refuse_loose_keys({"taxonKey": "Q2M4"})
    with pytest.raises(BadTaxonKey, match="'' is no checklist"):
        refuse_loose_keys({"taxonKey": "Q2M4", "checklistKey": "another"})
    refuse_loose_keys({"taxonKey": ["Q2M4", "N"], "checklistKey": CHECKLISTS["col_xr"], "limit": 300})
    refuse_loose_keys({"taxonKey": None, "limit": 300})
    assert checklist_of({"checklistKey": CHECKLISTS["gbif_backbone"]}) == "gbif_backbone" and checklist_of({}) == ""
