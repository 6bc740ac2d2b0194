"""What name services are known to do to a list, and what we make of it: one test for every trap of the field guide.

The answers are rebuilt from published recordings of the service; the numbers are those of the guide.
"""

import unicodedata

import pytest

from taxaforge.taxonomy.agreement import compare, filled
from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.asking import ask_all, question
from taxaforge.taxonomy.hints import tidy
from taxaforge.taxonomy.judge import judge
from taxaforge.taxonomy.keys import BadTaxonKey, TaxonKey
from taxaforge.taxonomy.names import parse
from taxaforge.taxonomy.outcomes import Outcome, collisions, distinct_species
from taxaforge.taxonomy.schema import POLICY
from taxaforge.taxonomy.sources import gbif
from taxaforge.taxonomy.taxa_list import Entry
from taxaforge.taxonomy.transport import BadPayload

PLANT = {"kingdom": "Plantae"}
ANIMAL = {"kingdom": "Animalia"}


def usage(name, rank="species", status="ACCEPTED", author="", species=None, key=None, **lineage):
    """A usage by hand; `species` is the accepted one, the name itself where none is given."""
    species = species or (" ".join(name.split()[:2]) if " " in name else None)
    ranks = lineage | ({"genus": species.split()[0], "species": species} if species else {})
    own = key or f"{name} {author} {status}"
    return Usage(f"col_xr:{own}", name, author, rank, status, ranks, f"col_xr:{species}" if species else "")


def verdict(written, answer, **hints):
    return judge(parse(written), hints, answer)


SHRUB = usage("Calopteryx", "genus", "SYNONYM", "A.C.Sm.", kingdom="Plantae", family="Ericaceae", genus="Thibaudia")
DAMSELFLY = usage("Calopteryx splendens", author="(Harris, 1780)", kingdom="Animalia", order="Odonata")
PUMA = usage("Puma concolor", author="(Linnaeus, 1771)", kingdom="Animalia", order="Carnivora")
PLANTS = usage("Plantae", "kingdom", kingdom="Plantae")


def test_01_a_wrong_hint_turns_no_insect_into_a_shrub():
    assert (
        verdict("Calopteryx splendens", Answer(SHRUB, (DAMSELFLY,), "HIGHERRANK", 96), **PLANT).status
        == "hint_conflict"
    )
    assert verdict("Calopteryx splendens", Answer(DAMSELFLY, (SHRUB,), "EXACT", 99)).status == "exact_accepted"
    only_the_shrub = verdict("Calopteryx splendens", Answer(SHRUB, (), "HIGHERRANK", 96), **PLANT)
    assert only_the_shrub.status == "rolled_up_to_genus"  # a genus at most, never a label


def test_02_a_hint_that_comes_back_as_the_answer_is_a_conflict():
    assert verdict("Puma concolor", Answer(PLANTS, (PUMA,), "HIGHERRANK", 100), **PLANT).status == "hint_conflict"
    assert verdict("Puma concolor", Answer(PLANTS, (), "HIGHERRANK", 100), **PLANT).status == "higher_only"


@pytest.mark.parametrize("word", ["EXACT", "HIGHERRANK", "VARIANT", "NONE"])
def test_03_the_word_for_the_match_decides_nothing(word):
    birds = usage("Aves", "class", kingdom="Animalia", **{"class": "Aves"})
    assert verdict("Aves", Answer(birds, (), word, 94)).status == "higher_only"
    assert "Aves is a class" in verdict("Aves", Answer(birds, (), word, 94)).reason
    assert verdict("Puma concolor", Answer(PUMA, (), word, 94)).status == "exact_accepted"
    animals = usage("Animalia", "kingdom", kingdom="Animalia")
    assert verdict("Micropterus", Answer(animals, (), word, 94)).status == "higher_only"


BEETLES = usage(
    "Oreina",
    "genus",
    author="Chevrolat, 1837",
    kingdom="Animalia",
    order="Coleoptera",
    family="Chrysomelidae",
    genus="Oreina",
)
BARE_OREINA = usage("Oreina", "genus", author="Someone", kingdom="Animalia", genus="Oreina")
GRASS = usage("Triodia", "genus", author="R.Br.", kingdom="Plantae", family="Poaceae", genus="Triodia")
MOTH = usage("Triodia", "genus", author="Hübner, 1820", kingdom="Animalia", family="Hepialidae", genus="Triodia")


def test_04_homonyms_are_chosen_by_the_row_or_stay_ambiguous():
    for answer in (Answer(None, (GRASS, MOTH), "NONE", 99), Answer(MOTH, (GRASS,))):
        assert verdict("Triodia", answer).status == "ambiguous_homonym"
        chosen = verdict("Triodia sp.", answer, family="Poaceae")
        assert (chosen.status, chosen.usage) == ("rolled_up_to_genus", GRASS)
    # a candidate that is silent about the family must not tie with one that confirms it
    answer = Answer(None, (BARE_OREINA, BEETLES))
    assert verdict("Oreina", answer, **ANIMAL).status == "ambiguous_homonym"
    chosen = verdict("Oreina", answer, **ANIMAL, family="Chrysomelidae")
    assert (chosen.status, chosen.usage) == ("rolled_up_to_genus", BEETLES)


def test_05_a_similar_name_in_another_genus_is_never_taken():
    bee = usage("Stelis costaricensis", kingdom="Animalia", **{"class": "Insecta"})
    beetle_genus = usage("Stolas", "genus", kingdom="Animalia", genus="Stolas", **{"class": "Insecta"})
    for answer in (Answer(bee, (), "VARIANT", 99), Answer(bee, (beetle_genus,), "VARIANT", 99)):
        assert verdict("Stolas costaricensis", answer, **{"class": "Insecta"}).status == "fuzzy_other_genus"
    spruce = usage("Picea concolor", status="SYNONYM", species="Abies concolor", kingdom="Plantae")
    assert verdict("Pica concolor", Answer(spruce, (), "VARIANT", 90), **PLANT).status == "fuzzy_other_genus"


@pytest.mark.parametrize("nothing", ["nan", "NA", "", "  ", "NULL", "None", "#N/A", "unknown"])
def test_06_a_row_without_a_name_is_not_asked_for_its_classification(nothing):
    entry = Entry(1, nothing, "", None, {"class": "Insecta"})
    assert question(entry.parsed(), entry) is None
    insects = usage("Insecta", "class", kingdom="Animalia", **{"class": "Insecta"})
    assert judge(entry.parsed(), entry.hints, Answer(insects, (), "EXACT", 100)).status == "empty"


@pytest.mark.parametrize(
    "written", ["Puma sp.", "Puma cf. concolor", "Puma aff. concolor", "Puma concolor agg.", "Puma concolor?"]
)
def test_07_a_doubtful_species_is_its_genus_and_keeps_its_qualifier(written):
    name = parse(written)
    genus = usage("Puma", "genus", kingdom="Animalia", genus="Puma")
    assert (name.canonical, bool(name.qualifier)) == ("Puma", True)
    assert judge(name, {}, Answer(genus, (PUMA,), "HIGHERRANK", 97)).status == "rolled_up_to_genus"
    assert judge(name, {}, Answer(PUMA, (), "EXACT", 100)).status not in POLICY


def test_08_an_unknown_subspecies_is_its_species_and_says_so():
    for written in ("Puma concolor imaginaria", "Puma concolor ssp.", "Puma concolor var."):
        rolled = verdict(written, Answer(PUMA, (), "HIGHERRANK", 98))
        assert (rolled.status, rolled.usage) == ("rolled_up_to_species", PUMA) and written in rolled.reason
    misspelt = verdict("Puma concollor imaginaria", Answer(PUMA, (), "HIGHERRANK", 90))
    assert misspelt.status == "rolled_up_to_species" and "Spelt Puma concolor" in misspelt.reason


def test_09_an_author_tells_homonyms_apart_and_a_wrong_one_is_no_choice():
    one = usage("Glocianus punctiger", author="(Gyllenhal, 1837)", key="1", kingdom="Animalia", family="Curculionidae")
    two = Usage("col_xr:2", one.canonical, "(C.R.Sahlberg, 1835)", "species", "ACCEPTED", one.lineage, "col_xr:2")
    weevils = usage("Glocianus", "genus", kingdom="Animalia", genus="Glocianus")
    answer = Answer(weevils, (one, two), "HIGHERRANK", 95)
    assert verdict("Glocianus punctiger", answer).status == "ambiguous_homonym"
    assert verdict("Glocianus punctiger (C.R.Sahlberg, 1835)", answer).usage is two
    assert verdict("Glocianus punctiger Sahlb.", answer).usage is two
    couch = usage("Elytrigia repens", status="SYNONYM", author="(L.) Gould", species="Elymus repens", kingdom="Plantae")
    genus = usage("Elytrigia", "genus", kingdom="Plantae", genus="Elytrigia")
    wrong = verdict("Elytrigia repens Karimba", Answer(genus, (couch,), "HIGHERRANK", 95))
    assert wrong.status == "ambiguous_homonym" and "(L.) Gould, not Karimba" in wrong.reason


def test_10_the_label_is_a_species_whatever_the_accepted_rank_and_a_new_genus_is_said():
    alder = Usage(
        "col_xr:1", "Frangula dodonei", "Ard.", "species", "SYNONYM",
        {"kingdom": "Plantae", "genus": "Frangula", "species": "Frangula alnus"}, "col_xr:7",
    )  # fmt: skip
    found = verdict("Frangula dodonei", Answer(alder))
    assert found.labelled(POLICY) and found.usage.lineage["species"] == "Frangula alnus"
    assert found.usage.species_key == "col_xr:7"  # not the subspecies that is accepted
    moss = usage("Anastrophyllum minutum", status="SYNONYM", species="Sphenolobus minutus", kingdom="Plantae")
    assert "Another genus" in verdict("Anastrophyllum minutum", Answer(moss)).reason
    assert "Another genus" not in found.reason


def outcome(row, written, taken):
    name = parse(written)
    return Outcome(
        Entry(row, written, "", None, {}),
        name,
        Answer(taken),
        judge(name, {}, Answer(taken)),
        "",
        True,
        "",
        taken.lineage,
        "",
        None,
        None,
    )


def test_11_names_that_were_lumped_are_listed_and_make_one_class():
    merged = [
        outcome(1, "Aus bus", usage("Aus bus")),
        outcome(2, "Cus dus", usage("Cus dus", status="SYNONYM", species="Aus bus")),
    ]
    assert [(row["row"], row["scientificName"], row["kind"]) for row in collisions(merged)] == [
        (1, "Aus bus", "accepted"), (2, "Aus bus", "synonym"),
    ]  # fmt: skip
    assert len(distinct_species(merged)) == 1


def test_12_a_rank_that_one_checklist_leaves_out_comes_from_the_other_and_is_marked():
    ours = usage("Salmo trutta", kingdom="Animalia", phylum="Chordata", order="Salmoniformes")
    theirs = usage("Salmo trutta", kingdom="Animalia", order="Salmoniformes", **{"class": "Teleostei"})
    lineage, mark = filled(ours, theirs, {}, "gbif_backbone")
    assert mark == "class=gbif_backbone" and lineage["class"] == "Teleostei"
    assert list(lineage) == ["kingdom", "phylum", "class", "order", "genus", "species"]
    assert filled(ours, theirs, {"class": "Actinopterygii"}, "gbif_backbone") == (
        dict(ours.lineage),
        "",
    )  # the list says otherwise


def test_12_ranks_that_moved_are_not_mixed():
    backbone = usage("Lacerta agilis", kingdom="Animalia", family="Lacertidae", **{"class": "Squamata"})
    catalogue = usage(
        "Lacerta agilis", kingdom="Animalia", family="Lacertidae", order="Squamata", **{"class": "Reptilia"}
    )
    assert filled(backbone, catalogue, {}, "col_xr") == (dict(backbone.lineage), "")
    bare = usage("Lacerta agilis", kingdom="Animalia", **{"class": "Squamata"})
    assert filled(bare, usage("Lacerta agilis", kingdom="Animalia", order="Squamata"), {}, "col_xr")[1] == ""


@pytest.mark.parametrize("said", ["Metazoa", "animals", "ANIMALIA", "Animalia Linnaeus, 1758", "Eukaryota"])
def test_13_a_kingdom_has_many_names(said):
    assert verdict("Puma concolor", Answer(PUMA), kingdom=said).status == "exact_accepted"
    assert tidy({"kingdom": said}) in ({"kingdom": "Animalia"}, {})
    oak = usage("Quercus robur", kingdom="Plantae")
    expected = "exact_accepted" if said == "Eukaryota" else "hint_conflict"
    assert verdict("Quercus robur", Answer(oak), kingdom=said).status == expected
    germ = usage("Escherichia coli", kingdom="Pseudomonadati")
    assert verdict("Escherichia coli", Answer(germ), kingdom="Bacteria").status == "exact_accepted"


def test_14_an_epithet_alone_is_no_name_and_a_lineage_that_repeats_a_name_is_not_believed():
    assert parse("rufipes").problem == "excluded_name_type"
    assert Entry(1, "rufipes", "", None, {"genus": "Formica"}).parsed().canonical == "Formica rufipes"
    broken = usage("Plantae io", kingdom="Plantae", family="Moraceae")
    assert verdict("Plantae io", Answer(broken)).status == "provisional"
    lost = usage("Aus bus", kingdom="Animalia", order="Animalia")
    assert verdict("Aus bus", Answer(lost)).status == "provisional"


def test_15_a_name_is_asked_without_a_key_and_another_name_in_the_answer_is_noticed():
    for asked in gbif.questions(parse("Calopteryx splendens"), {"kingdom": "Animalia"}):
        assert not any("key" in parameter.lower() for parameter in asked)
    birds = usage("Aves", "class", kingdom="Animalia", **{"class": "Aves"})
    assert verdict("Calopteryx", Answer(birds, (), "EXACT", 100)).status == "higher_only"


@pytest.mark.parametrize(
    "status, rank, expected",
    [
        ("PROVISIONALLY_ACCEPTED", "species", "provisional"),
        ("DOUBTFUL", "species", "provisional"),
        ("HYBRID", "species", "provisional"),
        ("ACCEPTED", "species_aggregate", "provisional"),
        ("MISAPPLIED", "species", "misapplied"),
    ],
)
def test_16_doubtful_names_have_statuses_of_their_own_and_label_only_where_the_policy_says_so(status, rank, expected):
    found = verdict(
        "Aus bus", Answer(usage("Aus bus", rank, status, species="Aus cus" if status == "MISAPPLIED" else None))
    )
    assert found.status == expected
    assert not found.labelled(POLICY) and found.labelled({*POLICY, expected})


def test_16_an_aggregate_does_not_hide_its_species():
    group = usage("Aus bus", "species_aggregate", key="1", kingdom="Animalia")
    real = usage("Aus bus", key="2", kingdom="Animalia")
    assert verdict("Aus bus", Answer(group, (real,))).usage is real


def test_16_a_hybrid_formula_is_no_class():
    assert verdict("Salix alba × Salix fragilis", Answer(usage("Salix alba"))).status == "excluded_name_type"


def test_17_a_body_that_is_no_answer_is_not_no_match():
    def ask(name, hints):
        raise BadPayload('200, but {"message": ...}')

    entry = Entry(1, "Aus bus", "", None, {})
    answers, failures = ask_all({question(entry.parsed(), entry): entry.parsed()}, ask)
    assert not answers and len(failures) == 1


@pytest.mark.parametrize(
    "written", ["Isoëtes lacustris", "Aus d'orbignyi", "Aus bus Müller & Henle, 1838", "Aus bus [sic]"]
)
def test_18_one_name_is_one_question_however_its_letters_are_encoded(written):
    keys = set()
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        for dressed in (
            written,
            f" {written}\u00a0",
            f'"{written}"',
            written.replace(" ", "_"),
            written.replace("'", "'"),
        ):
            entry = Entry(1, unicodedata.normalize(form, dressed), "", None, {})
            keys.add(question(entry.parsed(), entry))
    assert len(keys) == 1


def test_19_what_a_class_hands_on_is_a_key_with_its_checklist_or_refused_by_the_occurrence_search():
    taken = Usage("col_xr:9ZGGV", "Aus bus", "", "species", "SYNONYM", {"species": "Aus cus"}, "col_xr:Q2M4")
    assert TaxonKey.parse(distinct_species([outcome(1, "Aus bus", taken)])[0]["taxonID"]) == TaxonKey("col_xr", "Q2M4")
    for offline in ("snapshot:1", "archive:77", "list:Aus bus"):
        with pytest.raises(BadTaxonKey):
            TaxonKey.parse(offline)


@pytest.mark.parametrize(
    "ours, theirs, expected",
    [
        (PUMA, PUMA, "agree"),
        (PUMA, DAMSELFLY, "differ"),
        (PUMA, None, "only_one"),
        (None, PUMA, "only_one"),
        (None, None, "neither"),
    ],
)
def test_two_checklists_agree_by_the_name_of_the_species(ours, theirs, expected):
    assert compare(ours, theirs) == expected
