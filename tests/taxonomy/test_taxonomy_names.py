"""Reading names as people write them."""

import unicodedata

import pytest

from taxaforge.taxonomy.names import authors_differ, edits, normalise, parse, stem


@pytest.mark.parametrize(
    "written, canonical, rank, author",
    [
        ("Aglais io", "Aglais io", "species", ""),
        ("  Aglais\u00a0 io\t", "Aglais io", "species", ""),
        ("Aglais_io", "Aglais io", "species", ""),
        ("'Aglais io'", "Aglais io", "species", ""),
        ("AGLAIS IO", "Aglais io", "species", ""),
        ("aglais io", "Aglais io", "species", ""),
        ("\u200bAglais io", "Aglais io", "species", ""),
        ("Aglais io (Linnaeus, 1758)", "Aglais io", "species", "(Linnaeus, 1758)"),
        ("Aglais (Inachis) io", "Aglais io", "species", ""),
        ("Vanessa (Linnaeus, 1758)", "Vanessa", "uninomial", "(Linnaeus, 1758)"),
        ("Vanessa Fabricius, 1807", "Vanessa", "uninomial", "Fabricius, 1807"),
        ("Polygonia c-album", "Polygonia c-album", "species", ""),
        ("Agathis montana de Laub.", "Agathis montana", "species", "de Laub."),
        ("Quercus petraea (Matt.) Liebl.", "Quercus petraea", "species", "(Matt.) Liebl."),
        ("Quercus robur L. subsp. robur", "Quercus robur robur", "infraspecific", ""),
        ("Danaus plexippus plexippus", "Danaus plexippus plexippus", "infraspecific", ""),
        ("Frangula alnus var. latifolia Mill.", "Frangula alnus latifolia", "infraspecific", "Mill."),
        pytest.param("Salix alba L. f.", "Salix alba", "species", "L. f.", id="filius is no forma"),
        ("Pieris japonica (Thunb.) D.Don ex G.Don", "Pieris japonica", "species", "(Thunb.) D.Don ex G.Don"),
        ("Ficus variegata Röding, 1798", "Ficus variegata", "species", "Röding, 1798"),
    ],
)
def test_a_written_name_is_split_into_name_and_author(written, canonical, rank, author):
    name = parse(written)
    assert (name.canonical, name.rank, name.author, name.problem) == (canonical, rank, author, "")
    assert name.verbatim == written


@pytest.mark.parametrize(
    "written", ["", "  ", "nan", "NaN", "NA", "n/a", "None", "null", r"\N", "-", "unknown", "\u200b", None]
)
def test_null_tokens_are_no_names(written):
    assert parse(written).problem == "empty"


@pytest.mark.parametrize(
    "written",
    [
        "BOLD:AAA1234", "SH1234567.08FU", "Tobacco mosaic virus", "Abaeis nicippe × Abaeis alter", "Abaeis nicippe x Abaeis alter",
        "×", "Salix × fragilis", "rufipes", "Xysticus 12", "A. io", "incertae sedis", "unidentified beetle", "12345",
    ],
)  # fmt: skip
def test_what_is_not_a_latin_species_name_is_excluded(written):
    name = parse(written)
    assert name.problem == "excluded_name_type" and name.why


@pytest.mark.parametrize(
    "written, genus, qualifier",
    [
        ("Xysticus sp.", "Xysticus", "sp."),
        ("Xysticus sp", "Xysticus", "sp"),
        ("Xysticus spp.", "Xysticus", "spp."),
        ("Xysticus sp. 3", "Xysticus", "sp."),
        ("Xysticus cf. cristatus", "Xysticus", "cf."),
        ("Xysticus cristatus cf.", "Xysticus", "cf."),
        ("Xysticus aff. cristatus", "Xysticus", "aff."),
        ("Taraxacum officinale agg.", "Taraxacum", "agg."),
        ("Taraxacum officinale L. agg.", "Taraxacum", "agg."),
        ("Colias hyale auct.", "Colias", "auct."),
        ("Colias hyale sensu Miller", "Colias", "sensu"),
        ("Colias hyale s.l.", "Colias", "s.l."),
    ],
)
def test_open_nomenclature_leaves_only_the_genus(written, genus, qualifier):
    name = parse(written)
    assert (name.canonical, name.rank, name.qualifier, name.problem) == (genus, "uninomial", qualifier, "")


def test_composed_and_decomposed_accents_are_the_same_name():
    composed = "Aglaïs ïo"
    assert parse(unicodedata.normalize("NFD", composed)).canonical == parse(composed).canonical
    assert normalise(unicodedata.normalize("NFD", composed)) == composed


@pytest.mark.parametrize(
    "a, b, differ",
    [
        ("L.", "Linnaeus", False),
        ("(Linnaeus, 1758)", "Linnaeus, 1767", False),
        ("Fabr.", "(Fabricius, 1775)", False),
        ("", "Linnaeus", False),
        ("1758", "Linnaeus", False),
        ("(L.) Mill.", "Mill.", False),
        ("Blume", "Röding, 1798", True),
        ("Karimba", "(L.) Gould", True),
    ],
)
def test_authors_differ_only_where_both_name_somebody_else(a, b, differ):
    assert authors_differ(a, b) is differ and authors_differ(b, a) is differ


@pytest.mark.parametrize(
    "a, b, same",
    [
        ("Aus albus", "Aus alba", True),
        ("Aus smithi", "Aus smithii", True),
        ("Aus caeruleus", "Aus ceruleus", True),
        ("Aus sylvestris", "Aus silvestris", True),
        ("Aus albus", "Bus albus", False),
        ("Aus rapae", "Aus napi", False),
    ],
)
def test_endings_and_variant_letters_share_a_stem(a, b, same):
    assert (stem(a) == stem(b)) is same


def test_edits_counts_single_letters():
    assert [edits(*pair) for pair in (("", "ab"), ("kitten", "sitting"), ("io", "io"), ("ab", "ba"))] == [2, 3, 0, 2]
