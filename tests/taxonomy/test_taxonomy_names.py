"""Reading names as people write them."""

import unicodedata

import pytest

from taxaforge.taxonomy import authors
from taxaforge.taxonomy.names import edits, fold, is_hybrid, normalise, parse, stem


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
        pytest.param("Polygonia c–album", "Polygonia c-album", "species", "", id="a long dash"),
        pytest.param("Carex subg. Vignea remota", "Carex remota", "species", "", id="a subgenus by its marker"),
        pytest.param("Aus d’orbignyi", "Aus d'orbignyi", "species", "", id="an apostrophe"),
        pytest.param("Aus hybrida", "Aus hybrida", "species", "", id="hybrida is an epithet"),
        pytest.param("May bellis", "May bellis", "species", "", id="May is no month here"),
        pytest.param("'Aglais io", "Aglais io", "species", "", id="the mark a spreadsheet puts before text"),
        pytest.param("Danaus Plexippus", "Danaus", "uninomial", "Plexippus", id="a capital letter is an author"),
    ],
)
def test_a_written_name_is_split_into_name_and_author(written, canonical, rank, author):
    name = parse(written)
    assert (name.canonical, name.rank, name.author, name.problem) == (canonical, rank, author, "")
    assert name.verbatim == written


@pytest.mark.parametrize(
    "written",
    ["", "  ", "nan", "NaN", "NA", "n/a", "None", "null", r"\N", "-", "unknown", "\u200b", None, "#N/A", "<NA>", "NaT"],
)
def test_null_tokens_are_no_names(written):
    assert parse(written).problem == "empty"


@pytest.mark.parametrize(
    "written",
    [
        "BOLD:AAA1234", "SH1234567.08FU", "Tobacco mosaic virus", "Abaeis nicippe × Abaeis alter", "Abaeis nicippe x Abaeis alter",
        "×", "Salix × fragilis", "rufipes", "Xysticus 12", "A. io", "incertae sedis", "unidentified beetle", "12345",
        "3.14", "1e5", "TRUE", "false", "2021-03-05", "05/03/2021", "5-Mar-2021", "Mar-05", "10:30 PM", "#REF!", "-7",
        "Anas platyrhynchos hybrid", "+ Laburnocytisus adamii", "Rosa nothosubsp. alba", "Aus tobamovirus", "cf. Aglais io",
        "? Aglais io", "Candidatus Phytoplasma asteris", "Salix ×fragilis",
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
        ("Colias hyale?", "Colias", "hyale?"),
        ("Colias ?", "Colias", "?"),
        ("Colias n. sp.", "Colias", "sp."),
        ("Colias gen. et sp. nov.", "Colias", "sp."),
        ("Camponotus sp1", "Camponotus", "sp1"),
        ("Camponotus sp.2", "Camponotus", "sp.2"),
        ("Camponotus morphospecies 3", "Camponotus", "morphospecies"),
    ],
)
def test_open_nomenclature_leaves_only_the_genus(written, genus, qualifier):
    name = parse(written)
    assert (name.canonical, name.rank, name.qualifier, name.problem) == (genus, "uninomial", qualifier, "")


@pytest.mark.parametrize(
    "written, qualifier",
    [
        ("Malus domestica 'Gala'", "'Gala'"),
        ("Malus domestica ‘Royal Gala’", "‘Royal Gala’"),
        ("Malus domestica cv. Gala", "cv. Gala"),
        ("Malus domestica subsp.", "subsp."),
        ("Malus domestica Borkh. subsp.", "subsp."),
        ("Malus domestica var.", "var."),
    ],
)
def test_a_cultivar_or_an_unnamed_subspecies_is_its_species(written, qualifier):
    name = parse(written)
    assert (name.canonical, name.rank, name.qualifier) == ("Malus domestica", "species", qualifier)


def test_the_marker_of_a_variety_is_kept_for_it_tells_it_from_a_subspecies():
    names = [parse(f"Aus bus {marker} cus") for marker in ("var.", "subsp.", "")]
    assert [name.marker for name in names] == ["var", "subsp", ""] and len({name.canonical for name in names}) == 1


@pytest.mark.parametrize(
    "written", ["Aus bus", "Aus bus-cus", "Aus bus minor", "Aus sp", "Aus var minor", "Aus f minor", "Aus near minor"]
)
def test_the_short_way_for_plain_names_gives_what_the_long_way_gives(written, monkeypatch):
    short = parse(written)
    monkeypatch.setattr("taxaforge.taxonomy.names.plain", lambda text: False)
    assert parse(written) == short


@pytest.mark.parametrize("a, b", [("Æglaïs", "aeglais"), ("Ørsted", "orsted"), ("Łukasz", "lukasz"), ("o’b", "o'b")])
def test_letters_with_marks_and_ligatures_compare_equal(a, b):
    assert fold(a) == fold(b)


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
        ("(Huebner, 1790)", "(Hübner, 1790)", False),
        ("Mueller", "Müller", False),
        ("Mueller", "Mull.", False),
        ("Linneaus", "Linnaeus", False),
        ("Linneaus, 1758", "Linnaeus, 1758", False),
        ("Linnæus, 1758", "L.", False),
        ("Hbn.", "Hübner", False),
        ("Hbst.", "(Herbst, 1783)", False),
        ("Röding, 1798", "Roeding", False),
        ("Guérin-Méneville, 1844", "Guerin-Meneville", False),
        pytest.param("Smith, 1900", "Jones, 1900", False, id="the year vouches"),
        pytest.param("Smith, 1900", "Jones, 1901", True, id="another year does not"),
        pytest.param("Rossi", "Risso", True, id="short names that are near are two people"),
        pytest.param("Hbn.", "Haworth", True, id="consonants of another name"),
        pytest.param("Fabricius, 1775", "Faldermann, 1836", True, id="the same first letters"),
        ("Gyllenhal, 1837", "C.R.Sahlberg, 1835", True),
        ("Blume", "Röding, 1798", True),
        ("Karimba", "(L.) Gould", True),
    ],
)
def test_authors_differ_only_where_both_name_somebody_else(a, b, differ):
    assert authors.differ(a, b) is differ and authors.differ(b, a) is differ


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


@pytest.mark.parametrize(
    "written",
    [
        "Bombus terrestris or lucorum", "Bombus terrestris vel lucorum", "Bombus terrestris oder lucorum",
        "Bombus terrestris ou lucorum", "Bombus terrestris not lucorum", "Bombus terrestris non lucorum",
        "Bombus terrestris nec lucorum", "Bombus terrestris and lucorum", "Bombus terrestris et lucorum",
        "Bombus terrestris & lucorum", "Bombus terrestris or Bombus lucorum", "Bombus terrestris / B. lucorum",
        "Bombus terrestris (Linnaeus, 1758) or lucorum", "Bombus terrestris L. & B. lucorum L.", "Bombus terrestris L. / lucorum",
        "Bombus terrestris (Linnaeus, 1758) vel Bombus lucorum", "Bombus terrestris / lucorum", "Bombus terrestris/lucorum",
        "Bombus terrestris (or lucorum)", "Bombus terrestris [not lucorum]", "Bombus (cf) terrestris", "Bombus (cf.) terrestris",
        "Bombus [aff.] terrestris", "Bombus terrestris (cf)", "Bombus terrestris [cf]", "Bombus terrestris (cf. lucorum)",
        "Bombus terrestris s. l.", "Bombus terrestris s.lat.", "Bombus terrestris s. lat.", "Bombus terrestris (s. l.)",
        "Bombus terrestris sensu lato", "Bombus terrestris sens. lat.", "Bombus terrestris (Linnaeus, 1758) s. l.",
        "Bombus terrestris sl", "Bombus terrestris aggr.", "Bombus terrestris (Linnaeus, 1758) aggr.", "Bombus terrestris (agg.)",
        "Bombus terrestris (?)", "Bombus terrestris [?]", "Bombus terrestris (L.) (?)", "Bombus terrestris (L.) ?",
        "Bombus terrestris (L., 1758)?", "Bombus ?terrestris", "Bombus terrestris (uncertain)", "Bombus terrestris prob.",
        "Bombus probably terrestris", "Bombus terrestris (auct.)", "Bombus terrestris auct.non L.", "BOMBUS TERRESTRIS OR LUCORUM",
        "BOMBUS TERRESTRIS S. L.", "Bombus_terrestris_or_lucorum",
    ],
)  # fmt: skip
def test_a_doubt_in_whatever_form_leaves_only_the_genus(written):
    name = parse(written)
    assert (name.canonical, name.rank, name.problem) == ("Bombus", "uninomial", "") and name.qualifier


@pytest.mark.parametrize(
    "written, author",
    [
        ("Bombus terrestris s. str.", ""),
        ("Bombus terrestris s.str.", ""),
        ("Bombus terrestris s.s.", ""),
        ("Bombus terrestris sensu stricto", ""),
        ("Bombus (s. str.) terrestris", ""),
        ("Bombus terrestris (Linnaeus, 1758) s. str.", "(Linnaeus, 1758)"),
        ("BOMBUS TERRESTRIS S. STR.", ""),
        ("†Bombus terrestris", ""),
        ("† Bombus terrestris L.", "L."),
        ("Bombus terrestris †", ""),
        ("Bombus terrestris Smith & J. Jones, 1900", "Smith & J. Jones, 1900"),
        ("Bombus terrestris Smith and B. Jones", "Smith and B. Jones"),
        ("Bombus terrestris (Smith et al., 1900)", "(Smith et al., 1900)"),
        ("Bombus terrestris (Müller, 1776?)", "(Müller, 1776?)"),
        ("Bombus terrestris S. L. Smith", "S. L. Smith"),
        ("Bombus terrestris (F.)", "(F.)"),
        ("Bombus terrestris Spinola, 1806 non Fabricius", "Spinola, 1806 non Fabricius"),
    ],
)
def test_what_only_looks_like_a_doubt_leaves_the_species(written, author):
    name = parse(written)
    assert (name.canonical, name.rank, name.qualifier, name.problem) == ("Bombus terrestris", "species", "", "")
    assert name.author == author


@pytest.mark.parametrize(
    "written", ["Otus scops", "Otus scops (Linnaeus, 1758)", "OTUS SCOPS", "otus scops", "Otus sp.", "Otus"]
)
def test_owls_are_no_sequence_clusters(written):
    assert parse(written).canonical.split()[0] == "Otus"


@pytest.mark.parametrize("written", ["OTU 5", "OTU5", "OTU_12", "otu-7", "OTU"])
def test_sequence_clusters_are_no_owls(written):
    assert parse(written).problem == "excluded_name_type"


@pytest.mark.parametrize(
    "written, hint",
    [
        ("Coccinella 7-punctata", "septempunctata"),
        ("Adalia 2-punctata (L.)", "bipunctata"),
        ("Psyllobora 22punctata", "vigintiduopunctata"),
        ("Aus 19-punctatus", "as septempunctata for 7-punctata"),
    ],
)
def test_a_number_in_an_epithet_is_to_be_written_as_a_word(written, hint):
    name = parse(written)
    assert name.problem == "excluded_name_type" and hint in name.why
    assert "as a word" not in parse("Xysticus 12").why


@pytest.mark.parametrize(
    "written, hybrid",
    [("Platanus × hispanica Mill. ex Münchh.", True), ("×Cupressocyparis leylandii", True), ("Aus x bus", True),
     ("+ Laburnocytisus adamii", True), ("Viola hybrida", False), ("Xanthium strumarium L.", False), ("Aus bus", False)],
)  # fmt: skip
def test_hybrids_are_told_by_their_sign(written, hybrid):
    assert is_hybrid(written) is hybrid
